//! A mapped file that is cut off ends the process with one line and exit code 2, not with a core dump.
//!
//! Without the usual harness, because the process that maps the file has to end: this program starts itself.

#![forbid(unsafe_code)]

use attendant_formats::{Access, FileBytes, Weights};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::{env, fs};

/// Far more than is read when the file is opened, so that its end is a page that was never touched.
const LENGTH: usize = 4 << 20;
/// Its name has a line break, which must not become one on the terminal.
const NAME: &str = "model\n.safetensors";

fn main() {
    match env::args().nth(1).as_deref() {
        Some("mapped") => child(Access::Mapped),
        Some("copied") => child(Access::Copied),
        _ if cfg!(unix) => parent(),
        _ => (),
    }
}

fn parent() {
    let Output { status, stderr, stdout } = cut_off_under("mapped");
    let line = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{status}: {line}");
    let (before, byte) = line.split_once("model\\n.safetensors: data, byte ").expect(&line);
    assert!(before.starts_with("attendant: "), "{line}");
    let (byte, why) = byte.split_once(": ").expect(&line);
    assert!((4096..LENGTH).contains(&byte.parse().expect(&line)), "{line}");
    assert_eq!(why, "the file was cut off, or its disk failed, while it was in use\n");
    assert_eq!(stdout, b"opened\n", "what is missing was not read");

    let Output { status, stderr, stdout } = cut_off_under("copied");
    assert!(status.success() && stderr.is_empty(), "a copy has nothing to lose: {status}");
    assert_eq!(String::from_utf8(stdout), Ok(format!("opened\n{}\n", LENGTH as u64 * 7)));
    println!("a mapped file that is cut off ends in one line; a copied one does not end");
}

/// Lets a child open a file, cuts the file off, and lets the child read it.
fn cut_off_under(access: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    let header = format!("{{\"a\":{{\"dtype\":\"U8\",\"shape\":[{LENGTH}],\"data_offsets\":[0,{LENGTH}]}}}}");
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![7; LENGTH]].concat();
    fs::write(&path, file).unwrap();
    let mut child = Command::new(env::current_exe().unwrap());
    let child = child.arg(access).arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut opened = String::new();
    said.read_line(&mut opened).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
    writeln!(child.stdin.take().unwrap(), "cut").unwrap();
    let mut output = child.wait_with_output().unwrap();
    io::Read::read_to_end(&mut said, &mut output.stdout).unwrap();
    output.stdout.splice(..0, opened.bytes());
    output
}

fn child(access: Access) {
    let path = env::args_os().nth(2).expect("the parent says which file");
    let weights = Weights::open(Path::new(&path), access).unwrap();
    // A second mapping, gone again: its watch must not answer for the first.
    drop(FileBytes::open(Path::new(&path), access).unwrap());
    println!("opened");
    io::stdin().read_line(&mut String::new()).unwrap();
    let sum: u64 = weights.get("a").unwrap().bytes.iter().map(|&byte| u64::from(byte)).sum();
    println!("{sum}");
}
