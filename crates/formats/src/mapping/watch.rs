//! What happens when a mapped page is gone.

use crate::error::one_line;
use std::ffi::c_int;
use std::ffi::c_void;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A range of memory that is watched as long as this value lives.
#[derive(Debug)]
pub(super) struct Watched(&'static Watch);

/// One mapping. Never freed, because the handler may be looking at it at any time in any thread: a file that was opened costs the
/// length of its path.
#[derive(Debug)]
struct Watch {
    start: usize,
    end: usize,
    live: AtomicBool,
    /// What the line begins with; the byte follows.
    line: String,
    next: Option<&'static Watch>,
}

/// The newest watch, from which all others are reached.
static NEWEST: AtomicPtr<Watch> = AtomicPtr::new(ptr::null_mut());
/// One thread at a time adds a watch or installs the handler. The handler takes no lock.
static ADDING: Mutex<()> = Mutex::new(());
/// What was done with SIGBUS before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

impl Watched {
    pub(super) fn new(path: &Path, bytes: &[u8]) -> io::Result<Watched> {
        let _adding = ADDING.lock().unwrap_or_else(PoisonError::into_inner);
        install()?;
        let start = bytes.as_ptr() as usize;
        let watch: &'static Watch = Box::leak(Box::new(Watch {
            start,
            end: start + bytes.len(),
            live: AtomicBool::new(true),
            line: format!("attendant: {}: data, byte ", one_line(path.display())),
            next: newest(),
        }));
        NEWEST.store(ptr::from_ref(watch).cast_mut(), Ordering::Release);
        Ok(Watched(watch))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.live.store(false, Ordering::Release);
    }
}

fn newest() -> Option<&'static Watch> {
    // SAFETY: the pointer is null, or `Watched::new` made it from a leaked box, and nothing is ever written through it.
    unsafe { NEWEST.load(Ordering::Acquire).as_ref() }
}

/// The live watch over an address, if there is one.
fn watching(address: usize) -> Option<&'static Watch> {
    std::iter::successors(newest(), |watch| watch.next)
        .find(|watch| (watch.start..watch.end).contains(&address) && watch.live.load(Ordering::Acquire))
}

/// Installs the handler, once in the life of the process.
fn install() -> io::Result<()> {
    if BEFORE.get().is_some() {
        return Ok(());
    }
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all zeros is a `sigaction`: no flags, no mask, the default action.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = on_fault as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
    // On the alternate stack, where the thread has one: the handler that was there before may need it.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: both pointers are to live values of the right type, and the handler has the signature that SA_SIGINFO asks for.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), before.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Known before the handler can run. SAFETY: `sigaction` succeeded, so it wrote all of it.
    let _ = BEFORE.set(unsafe { before.assume_init() });
    // SAFETY: as above.
    if unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Runs inside the read that failed, so it may only do what is allowed in a signal handler: it loads atomics, writes to its own stack,
/// and calls `write`, `_exit` and `sigaction`.
extern "C" fn on_fault(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes a filled `siginfo_t`, as SA_SIGINFO asks, and for SIGBUS it holds an address.
    let address = unsafe { (*info).si_addr() } as usize;
    if let Some(watch) = watching(address) {
        let mut line = Line { bytes: [0; 4096], length: 0 };
        line.push(watch.line.as_bytes());
        line.push_number(address - watch.start);
        line.push(b": the file was cut off, or its disk failed, while it was in use\n");
        // SAFETY: the buffer is alive and at least `length` long, since `push` keeps `length` within it; `_exit` does not return.
        unsafe {
            libc::write(libc::STDERR_FILENO, line.bytes.as_ptr().cast(), line.length);
            libc::_exit(2);
        }
    }
    if let Some(before) = BEFORE.get() {
        // Not a file of ours. The read is tried again when this returns, fails again, and meets whatever was there before us.
        // SAFETY: `before` is what `sigaction` gave.
        unsafe { libc::sigaction(libc::SIGBUS, before, ptr::null_mut()) };
    }
}

/// Text without an allocation.
struct Line {
    bytes: [u8; 4096],
    length: usize,
}

impl Line {
    /// Appends what there is room for.
    fn push(&mut self, text: &[u8]) {
        for (place, byte) in self.bytes.iter_mut().skip(self.length).zip(text) {
            *place = *byte;
            self.length += 1;
        }
    }

    fn push_number(&mut self, number: usize) {
        if number >= 10 {
            self.push_number(number / 10);
        }
        self.push(&[b'0' + (number % 10) as u8]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_watched_while_its_value_lives() {
        let bytes = [0u8; 100];
        let start = bytes.as_ptr() as usize;
        let watched = Watched::new(Path::new("a\nb"), &bytes).unwrap();
        assert_eq!(watching(start + 99).unwrap().line, "attendant: a\\nb: data, byte ");
        assert!(watching(start + 100).is_none());
        drop(watched);
        assert!(watching(start).is_none());
    }

    #[test]
    fn lines_keep_what_fits() {
        let mut line = Line { bytes: [0; 4096], length: 0 };
        line.push_number(0);
        line.push_number(18_446_744_073_709_551_615);
        assert_eq!(&line.bytes[..line.length], b"018446744073709551615");
        line.push(&[b'a'; 5000]);
        assert_eq!((line.length, line.bytes[4095]), (4096, b'a'));
    }
}
