//! Code of others that may panic on what a file says: the panic becomes a refusal and prints nothing.

use crate::error::{Refusal, Result};
use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; a panic in it refuses `field`. What `work` was changing when it panicked must not be used again.
pub(crate) fn guarded<T>(field: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    quieten();
    let outer = GUARDED.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    outcome.unwrap_or_else(|panic| Err(Refusal::new(field, format_args!("cannot be used ({})", message(&*panic)))))
}

/// Puts a hook before the one that prints, which lets panics of guarded threads pass in silence.
fn quieten() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                loud(info);
            }
        }));
    });
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_refusal_of_one_line() {
        let why = guarded("model", || -> Result<()> { panic!("two\nlines {}", 1) }).unwrap_err();
        assert_eq!(why.to_string(), "model: cannot be used (two\\nlines 1)");
        assert_eq!(guarded("model", || Ok(3)), Ok(3));
        assert!(!GUARDED.get());
    }

    #[test]
    fn guards_nest() {
        let outer = guarded("outer", || {
            assert!(guarded("inner", || -> Result<()> { panic!("inside") }).is_err());
            assert!(GUARDED.get());
            Ok(())
        });
        assert_eq!(outer, Ok(()));
    }
}
