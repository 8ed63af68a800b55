//! The time that something computes, where the system says it, and what passes elsewhere.

use std::fs;
use std::time::{Duration, Instant};

pub(crate) struct Clock {
    wall: Instant,
    read: fn() -> Option<Duration>,
    computed: Option<Duration>,
}

impl Clock {
    /// Of this thread, to the nanosecond: reading a file waits for nothing but the disk.
    pub(crate) fn of_thread() -> Clock {
        Clock::start(|| {
            let nanoseconds = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
            nanoseconds.split(' ').next()?.parse().map(Duration::from_nanos).ok()
        })
    }

    /// Of the process, in hundredths of a second: a template runs on a thread of its own, whose time is added when it ends.
    pub(crate) fn of_process() -> Clock {
        Clock::start(|| {
            let line = fs::read_to_string("/proc/self/stat").ok()?;
            let fields: Vec<&str> = line.rsplit_once(')')?.1.split(' ').collect();
            let hundredths = fields.get(12)?.parse::<u64>().ok()? + fields.get(13)?.parse::<u64>().ok()?;
            Some(Duration::from_millis(10 * hundredths))
        })
    }

    fn start(read: fn() -> Option<Duration>) -> Clock {
        Clock { computed: read(), wall: Instant::now(), read }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        let computed = self.computed.and_then(|before| (self.read)()?.checked_sub(before));
        computed.unwrap_or_else(|| self.wall.elapsed())
    }
}
