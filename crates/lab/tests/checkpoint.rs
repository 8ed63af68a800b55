//! Checkpoints under what no one can inject: a process killed at random moments, and a disk that is full.

use attendant_core::Random;
use attendant_lab::{LabError, Result, checkpoint};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The folder that [`writer`] works in.
const FOLDER: &str = "ATTENDANT_CHECKPOINT_FOLDER";
const KILLS: u64 = 24;

/// Files whose content says which step wrote them; together larger than one page and than one write.
fn fill(path: &Path, step: u64) -> Result<()> {
    for (name, bytes) in [("weights", 300_000), ("moments", 70_001), ("progress", 17)] {
        let place = path.join(name);
        fs::write(&place, vec![step as u8; bytes]).map_err(|why| LabError::io(&place, why))?;
    }
    Ok(())
}

fn holds(path: &Path, step: u64) {
    for (name, bytes) in [("weights", 300_000), ("moments", 70_001), ("progress", 17)] {
        assert!(fs::read(path.join(name)).unwrap() == vec![step as u8; bytes], "{name} of step {step}");
    }
}

/// Runs a test of this file that does nothing without a folder as a process of its own, optionally through another program.
fn child(through: &[&str], test: &str, folder: &Path) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut words: Vec<PathBuf> = through.iter().map(PathBuf::from).collect();
    words.extend([this, "--exact".into(), test.into(), "--nocapture".into()]);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env(FOLDER, folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The process that `a_kill_at_any_moment_leaves_the_latest_whole` kills.
#[test]
fn writer() {
    let Some(run) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let first = checkpoint::latest(&run).unwrap().map_or(1, |(step, _)| step + 1);
    for step in first.. {
        checkpoint::write(&run, step, 2, |path| fill(path, step)).unwrap();
        // What this line says has been promised; the parent holds the folder to it.
        fs::write(run.join("promised.new"), step.to_string()).unwrap();
        fs::rename(run.join("promised.new"), run.join("promised")).unwrap();
    }
}

/// Whether something is there that is no checkpoint yet, or no longer.
fn aside(run: &Path) -> bool {
    let entries = fs::read_dir(run.join("checkpoints")).map(|all| all.flatten().collect::<Vec<_>>());
    entries.unwrap_or_default().iter().any(|entry| entry.file_name().to_string_lossy().starts_with(".tmp-"))
}

#[test]
fn a_kill_at_any_moment_leaves_the_latest_whole() {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("ATTENDANT_SEED").map_or(clock, |seed| seed.parse().expect("ATTENDANT_SEED is a number"));
    println!("ATTENDANT_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path();
    let mut torn = 0;
    for kill in 0..KILLS {
        let mut process = child(&[], "writer", run).spawn().unwrap();
        sleep(Duration::from_micros(5_000 + Random::at(seed, "kill", kill).below(120_000) as u64));
        process.kill().unwrap();
        process.wait().unwrap();
        torn += u64::from(aside(run));
        let promised: u64 = fs::read_to_string(run.join("promised")).map_or(0, |text| text.parse().unwrap());
        let found = checkpoint::latest(run).unwrap();
        assert!(found.as_ref().map_or(0, |found| found.0) >= promised, "promised {promised}, found {found:?}");
        if let Some((step, path)) = found {
            holds(&path, step);
        }
    }
    let latest = checkpoint::latest(run).unwrap().expect("some checkpoint was finished").0;
    checkpoint::write(run, latest + 1, 2, |path| fill(path, latest + 1)).unwrap();
    assert!(!aside(run), "what was torn is still there");
    println!("{KILLS} kills, {torn} while a checkpoint was aside, {latest} checkpoints");
}

/// The process that `a_full_disk_leaves_what_was_there` gives a tiny disk.
#[test]
fn writer_on_a_tiny_disk() {
    let Some(run) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    checkpoint::write(&run, 1, 2, |path| fill(path, 1)).unwrap();
    for step in 2..5 {
        let error = checkpoint::write(&run, step, 2, |path| fill(path, step)).unwrap_err();
        let full = matches!(&error, LabError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
        assert!(full && !error.to_string().contains('\n'), "{error}");
        let (found, path) = checkpoint::latest(&run).unwrap().unwrap();
        assert_eq!(found, 1);
        holds(&path, 1);
        assert_eq!(fs::read_dir(run.join("checkpoints")).unwrap().count(), 1);
    }
    println!("the disk was full");
}

#[test]
fn a_full_disk_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    // A mount of its own name space: it needs no rights and is gone with the process. One checkpoint fits, two do not.
    let mount = r#"mount -t tmpfs -o size=640k none "$ATTENDANT_CHECKPOINT_FOLDER" || exit 77; exec "$0" "$@""#;
    let through = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount];
    let output = match child(&through, "writer_on_a_tiny_disk", folder.path()).output() {
        Ok(output) => output,
        Err(why) => return println!("skipped: no tiny disk here: unshare: {why}"),
    };
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !out.contains("running 1 test") {
        return println!("skipped: no tiny disk here: {}", err.trim());
    }
    assert!(output.status.success() && out.contains("the disk was full"), "{out}{err}");
}
