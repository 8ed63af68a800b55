//! Draws made-up comparisons, for looking at reports and tables while working on them: `report_preview [directory]`.

#[path = "../tests/synthetic/mod.rs"]
mod synthetic;

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use attendant_lab::report::html;
use attendant_lab::sentence::sentence;
use attendant_lab::table::{Terminal, table};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = env::args_os().nth(1).map_or_else(|| env::temp_dir().join("attendant-report-preview"), PathBuf::from);
    fs::create_dir_all(&directory)?;
    for (name, comparison) in synthetic::all() {
        let path = directory.join(name).with_extension("html");
        fs::write(&path, html(&comparison)?)?;
        println!("{}\n\n{}", path.display(), table(&comparison, Terminal::stdout()));
        for outcome in &comparison.mechanisms {
            println!("{}", sentence(&comparison, outcome));
        }
        println!();
    }
    Ok(())
}
