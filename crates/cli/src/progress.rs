//! The bar on stderr, and stopping when asked.

use crate::output::say;
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A bar that shows a share of the work, what is being done, and the time left as the pace so far gives it. Nothing is shown
/// when stderr is not a terminal.
pub(crate) struct Bar {
    bar: ProgressBar,
    start: Instant,
    first: Option<f64>,
}

const PARTS: u64 = 10_000;

impl Bar {
    pub(crate) fn new() -> Bar {
        let style = ProgressStyle::with_template("{bar:30} {percent:>3}%  {prefix}  {msg}").expect("the template is fixed");
        Bar { bar: ProgressBar::new(PARTS).with_style(style), start: Instant::now(), first: None }
    }

    /// Shows that `done`, 0 to 1, of the work is done. What was done before the first call does not count for the pace.
    pub(crate) fn show(&mut self, done: f64, doing: String) {
        let first = *self.first.get_or_insert(done);
        let seconds = self.start.elapsed().as_secs_f64();
        let left = if done > first + 0.005 { clock(seconds * (1.0 - done) / (done - first)) } else { "-:--".into() };
        self.bar.set_position((done * PARTS as f64) as u64);
        self.bar.set_prefix(format!("{} gone, {left} left", clock(seconds)));
        self.bar.set_message(doing);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Whether nothing is under way that could be stopped, because someone is to type.
static WAITING: AtomicBool = AtomicBool::new(false);

/// Reads what someone types. Ctrl-C meanwhile ends the process at once.
pub(crate) fn waiting<T>(read: impl FnOnce() -> T) -> T {
    WAITING.store(true, Ordering::Relaxed);
    let typed = read();
    WAITING.store(false, Ordering::Relaxed);
    typed
}

/// A flag that Ctrl-C sets. A second Ctrl-C ends the process at once.
pub(crate) fn stop_flag() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = stop.clone();
    // A handler can be set once only, and this is the one place that does.
    ctrlc::set_handler(move || {
        let waiting = WAITING.load(Ordering::Relaxed);
        if waiting {
            // The terminal shows the keys, and stays in that line.
            say("");
        }
        if waiting || set.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .expect("no other handler is set");
    stop
}
