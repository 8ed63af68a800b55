//! `cargo x emulate`: the tests of the kernels and the mechanisms on an instruction set that this processor lacks. The test programs
//! are linked statically and put with a kernel on the image of a disc, which the Bochs emulator starts; its serial port is what is
//! read here.

use crate::built::{self, Program};
use crate::flags::Flags;
use crate::root;
use crate::suite::{self, Tally};
use std::fs;
use std::io::{self, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const PACKAGES: [&str; 2] = ["attendant-kernels", "attendant-mech"];
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Files that Debian's packages bring.
const BUSYBOX: &str = "/bin/busybox";
const LOADER: [&str; 2] = ["/usr/lib/ISOLINUX/isolinux.bin", "/usr/lib/syslinux/modules/bios/ldlinux.c32"];
const NEEDED: [(&str, &str); 6] = [
    ("/usr/bin/bochs", "bochs"),
    ("/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so", "bochs-term"),
    (BUSYBOX, "busybox-static"),
    (LOADER[0], "isolinux"),
    (LOADER[1], "syslinux-common"),
    ("/usr/bin/xorriso", "xorriso"),
];

/// The last line of a machine whose programs all passed; `init.sh` prints it.
const PASSED: &str = "== every program passed";

/// What is emulated, and by what.
struct Emulator {
    /// If it is not Debian's.
    program: Option<PathBuf>,
    cpu: String,
    kernel: PathBuf,
}

/// Builds the tests, starts the machine and counts.
///
/// # Errors
/// If something is missing, does not build, or if a test fails.
pub(crate) fn run(mut flags: Flags) -> Result<(), String> {
    let words = flags.rest();
    let isa = flags.value("--isa")?.unwrap_or_else(|| "avx512".to_owned());
    let mut only = Vec::new();
    while let Some(name) = flags.value("--only")? {
        only.push(name);
    }
    let emulator = Emulator::from(&mut flags)?;
    flags.finish()?;

    let programs = build(&only)?;
    let folder = programs[0].parent().and_then(Path::parent).expect("cargo puts tests in a folder of its own").join("emulate");
    write_image(&folder, &emulator, &programs, &settings(&isa, &words)?).map_err(|e| format!("{}: {e}", folder.display()))?;
    let start = Instant::now();
    let (tally, verdict) = emulator.start(&folder);
    println!("emulate: {tally} on {isa} in {:.0} s", start.elapsed().as_secs_f64());
    verdict
}

impl Emulator {
    fn from(flags: &mut Flags) -> Result<Emulator, String> {
        let program = flags.value("--bochs")?.map(|path| file("--bochs", path)).transpose()?;
        let kernel = flags.value("--kernel")?.map(|path| file("--kernel", path)).transpose()?.or_else(installed_kernel);
        let theirs = |package: &str| program.is_some() && package.starts_with("bochs");
        let mut missing: Vec<_> = NEEDED.iter().filter(|(path, package)| !theirs(package) && !Path::new(path).exists()).collect();
        if kernel.is_none() {
            missing.push(&("", "linux-image-cloud-amd64"));
        }
        let missing: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
        match kernel {
            Some(kernel) if missing.is_empty() => {
                Ok(Emulator { program, cpu: flags.value("--cpu")?.unwrap_or_else(|| "corei7_skylake_x".to_owned()), kernel })
            }
            _ => Err(format!("emulate: these packages of Debian are missing: {}", missing.join(" "))),
        }
    }

    fn settings(&self) -> String {
        // Debian's has no `nogui`, and on a machine without sound it breaks down unless told so.
        let front = match self.program {
            None => "display_library: term\nsound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy",
            Some(_) => "display_library: nogui",
        };
        // A slow clock: what the kernel waits for while it starts is counted in instructions.
        format!(
            "cpu: model={}, ips=20000000\nmemory: guest=1024, host=1024\n{front}\n\
             ata0-master: type=cdrom, path=disc.iso, status=inserted\nboot: cdrom\ncom1: enabled=1, mode=file, dev=/dev/fd/3\n\
             log: bochs.log\npanic: action=fatal\n",
            self.cpu
        )
    }

    /// Runs the machine in `folder`. The serial port is standard output here; whatever Bochs itself prints goes to a file. Debian's
    /// Bochs is a debugger and has to be told to continue, and every Bochs calls it a failure that the machine goes off.
    fn start(&self, folder: &Path) -> (Tally, Result<(), String>) {
        let script = "exec 3>&1; echo continue | \"$0\" -q -f bochsrc >bochs.out 2>&1; true";
        let mut heard = Heard::default();
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(self.program.as_deref().unwrap_or("bochs".as_ref())).current_dir(folder);
        let (tally, result) = suite::run(&mut command, &mut heard);
        let verdict = result.map_err(|why| format!("emulate: {why}; see bochs.log and bochs.out in {}", folder.display()));
        let passed = String::from_utf8_lossy(&heard.0).lines().any(|line| line.trim_end() == PASSED);
        (tally, verdict.and_then(|()| if passed { Ok(()) } else { Err("emulate: not every program passed".into()) }))
    }
}

/// Shows what it is given, and remembers it.
#[derive(Default)]
struct Heard(Vec<u8>);

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        stdout().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        stdout().flush()
    }
}

/// The path that `flag` names, whatever folder it is used from.
fn file(flag: &str, path: PathBuf) -> Result<PathBuf, String> {
    fs::canonicalize(&path).map_err(|e| format!("{flag}: {}: {e}", path.display()))
}

fn installed_kernel() -> Option<PathBuf> {
    let files = fs::read_dir("/boot").ok()?.flatten().map(|entry| entry.path());
    files.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))).max()
}

/// The test programs, or those that `only` names, each a file that needs no library.
fn build(only: &[String]) -> Result<Vec<PathBuf>, String> {
    let mut words = vec!["test", "--no-run", "--locked", "--target", TARGET];
    words.extend(PACKAGES.iter().flat_map(|package| ["--package", package]));
    let flags = [("RUSTFLAGS", "--cfg emulated -C target-feature=+crt-static -C strip=debuginfo")];
    let built = built::programs(&words, &flags)?;
    let tests: Vec<_> = built.into_iter().filter(|program| program.test).collect();
    if let Some(name) = only.iter().find(|name| tests.iter().all(|program| program.name != **name)) {
        let names: Vec<_> = tests.iter().map(|program| program.name.as_str()).collect();
        return Err(format!("--only: got {name:?}, the programs are {}", names.join(", ")));
    }
    let wanted = |program: &Program| only.is_empty() || only.contains(&program.name);
    let programs: Vec<_> = tests.into_iter().filter(wanted).map(|program| program.path).collect();
    if programs.is_empty() { Err("emulate: no tests were built".into()) } else { Ok(programs) }
}

/// What `init.sh` reads before it runs the programs. The point of the exam that visits every instruction set is left out: the other
/// points ask the same on the one that is emulated.
fn settings(isa: &str, words: &[String]) -> Result<String, String> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock is before 1970")?.as_secs();
    let seed = std::env::var("ATTENDANT_SEED").unwrap_or_else(|_| clock.to_string());
    let words = words.join(" ");
    Ok(format!(
        "export ATTENDANT_ISA={isa} ATTENDANT_SEED={seed} RUST_TEST_THREADS=1\necho ATTENDANT_SEED=$ATTENDANT_SEED\n\
         set -- --skip instruction_sets {words}\n"
    ))
}

/// Writes everything the machine needs into `folder`, which is made anew.
fn write_image(folder: &Path, emulator: &Emulator, programs: &[PathBuf], settings: &str) -> io::Result<()> {
    let (inside, disc) = (folder.join("root"), folder.join("disc"));
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    for part in ["bin", "dev", "proc", "programs"] {
        fs::create_dir_all(inside.join(part))?;
    }
    fs::create_dir_all(&disc)?;
    fs::copy(BUSYBOX, inside.join("bin/busybox"))?;
    for program in programs {
        fs::copy(program, inside.join("programs").join(program.file_name().expect("cargo names a file")))?;
    }
    fs::write(inside.join("settings"), settings)?;
    fs::write(inside.join("init"), include_str!("emulate/init.sh"))?;
    fs::write(disc.join("isolinux.cfg"), include_str!("emulate/isolinux.cfg"))?;
    fs::copy(&emulator.kernel, disc.join("vmlinuz"))?;
    for file in LOADER.map(Path::new) {
        fs::copy(file, disc.join(file.file_name().expect("the path of a file")))?;
    }
    fs::write(folder.join("bochsrc"), emulator.settings())?;
    // Tests find their data where it was when they were built.
    shell("mkdir -p \"root/$0\" && cp -R \"$0/data\" \"root/$0\"", folder, &root().join("crates/kernels/tests"))?;
    shell("chmod +x root/init && cd root && \"$0\" find . | \"$0\" cpio -o -H newc >../disc/initrd", folder, BUSYBOX.as_ref())?;
    let boot = "-b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table";
    shell(&format!("\"$0\" -as mkisofs -quiet -o disc.iso {boot} disc"), folder, "xorriso".as_ref())
}

/// Runs a line of shell in `folder`; `$0` is `argument`.
fn shell(line: &str, folder: &Path, argument: &Path) -> io::Result<()> {
    let output = Command::new("sh").args(["-ec", line]).arg(argument).current_dir(folder).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("{line:?}: {}", String::from_utf8_lossy(&output.stderr)))),
    }
}
