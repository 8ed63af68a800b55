//! Where and when something ran.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The processor's name, as the system gives it.
pub fn cpu_name() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_string()));
    name.unwrap_or_else(|| std::env::consts::ARCH.into())
}

/// Processor seconds that this process has used, all threads together, where the system tells.
pub fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold spaces; user and system ticks are the 12th and 13th fields after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    // Linux reports in hundredths of a second whatever the kernel's own clock.
    Some(ticks / 100.0)
}

/// The most bytes of memory that this process has had, where the system tells.
pub fn peak_memory() -> Option<u64> {
    kilobytes("/proc/self/status", "VmHWM:")
}

/// Bytes of memory that can be had without swapping, where the system tells.
pub fn available_memory() -> Option<u64> {
    kilobytes("/proc/meminfo", "MemAvailable:")
}

/// A line of a file of the system that states kilobytes, in bytes.
fn kilobytes(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// The revision of the repository that a folder is in, if it is in one; ends in `-dirty` if files differ from it.
pub fn git_revision(folder: &Path) -> Option<String> {
    // Every tag is excluded, so that the revision is always the hash.
    let describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"];
    let output = Command::new("git").arg("-C").arg(folder).args(describe).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// The time in UTC, for people.
pub fn now() -> String {
    let (y, m, d, h, min, s) = civil(seconds());
    format!("{y:04}-{m:02}-{d:02} {h:02}:{min:02}:{s:02} UTC")
}

/// The time in UTC, for the name of a folder.
pub fn stamp() -> String {
    let (y, m, d, h, min, s) = civil(seconds());
    format!("{y:04}{m:02}{d:02}-{h:02}{min:02}{s:02}")
}

/// Seconds since 1970.
fn seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// Year, month, day, hour, minute, second. Days become dates by counting in eras of 400 years from a first of March.
fn civil(seconds: i64) -> (i64, i64, i64, i64, i64, i64) {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (d, m) = (day_of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (year + era * 400 + i64::from(m <= 2), m, d, rest / 3600, rest % 3600 / 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        // As the POSIX command date says: ends of years and of February, a leap year, a century that is none.
        for (seconds, want) in [
            (0, (1970, 1, 1, 0, 0, 0)),
            (951_782_399, (2000, 2, 28, 23, 59, 59)),
            (951_782_400, (2000, 2, 29, 0, 0, 0)),
            (1_709_251_199, (2024, 2, 29, 23, 59, 59)),
            (1_735_689_599, (2024, 12, 31, 23, 59, 59)),
            (4_107_542_400, (2100, 3, 1, 0, 0, 0)),
        ] {
            assert_eq!(civil(seconds), want);
        }
    }

    #[test]
    fn a_changed_tree_is_called_dirty() {
        let folder = tempfile::tempdir().unwrap();
        let git = |words: &[&str]| {
            let author = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"];
            let run = Command::new("git").arg("-C").arg(folder.path()).args(author).args(words).output();
            run.is_ok_and(|output| output.status.success())
        };
        if !git(&["init", "--quiet"]) {
            return println!("skipped: no git here");
        }
        assert_eq!(git_revision(folder.path()), None);
        fs::write(folder.path().join("a"), "one").unwrap();
        assert!(git(&["add", "a"]) && git(&["commit", "--quiet", "-m", "one"]) && git(&["tag", "v1"]));
        let clean = git_revision(folder.path()).unwrap();
        assert!(clean.len() == 40 && clean.bytes().all(|byte| byte.is_ascii_hexdigit()), "{clean}");
        fs::write(folder.path().join("a"), "two").unwrap();
        assert_eq!(git_revision(folder.path()).unwrap(), clean + "-dirty");
    }

    #[test]
    fn work_takes_processor_seconds() {
        let Some(before) = cpu_seconds() else { return println!("skipped: this system does not tell") };
        let mut sum = 0_u64;
        let began = std::time::Instant::now();
        while cpu_seconds().unwrap() < before + 0.03 {
            sum = (0..100_000).fold(sum, |sum: u64, i| std::hint::black_box(sum ^ i));
            assert!(began.elapsed().as_secs() < 60, "busy for a minute and no processor time");
        }
    }
}
