//! `agg man` and `agg completions`: the manual's pages and what shells complete, made from the arguments themselves, so that
//! they say what this very program does. Packages have them made when they are built.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use roff::{Roff, roman};

use crate::Ended;

/// The arguments of `agg man`.
#[derive(Args)]
#[command(after_help = PAGES)]
pub struct Pages {
    /// Write a page for each command into this directory, instead of the first page to standard output
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

const PAGES: &str = "\
Examples:
  agg man | man -l -             read it
  agg man --dir /usr/local/share/man/man1";

/// The arguments of `agg completions`.
#[derive(Args)]
#[command(after_help = COMPLETIONS)]
pub struct Completions {
    /// For which shell
    shell: Shell,
}

const COMPLETIONS: &str = "\
Examples:
  source <(agg completions bash)
  agg completions zsh > ~/.zfunc/_agg
  agg completions fish > ~/.config/fish/completions/agg.fish";

/// Writes the manual.
///
/// Returns an error if it cannot be written.
pub fn pages(program: Command, pages: &Pages) -> Result<Ended, String> {
    // Their pages would repeat the others.
    let mut program = program.disable_help_subcommand(true);
    program.build();
    match &pages.dir {
        Some(dir) => write_all(&program, dir)
            .map_err(|error| format!("cannot write to {}: {error}", dir.display()))?,
        None => {
            let rendered = page(&program);
            rendered.and_then(|page| print(&page)).map_err(unwritten)?;
        }
    }
    Ok(Ended::Done)
}

/// The page of a command and those of the commands below it.
fn write_all(command: &Command, dir: &Path) -> std::io::Result<()> {
    for below in command.get_subcommands() {
        write_all(below, dir)?;
    }
    let name = Man::new(command.clone()).get_filename();
    std::fs::write(dir.join(name), page(command)?)
}

/// The page of a command. What stands behind the options in its help is laid out by lines, which stay as they are.
fn page(command: &Command) -> std::io::Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .source(format!("agg {}", env!("CARGO_PKG_VERSION")))
        .manual("aggregator")
        // Without a blank the others would move into its place.
        .date(" ");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let more = command.get_after_help().map(ToString::to_string);
    let more = more.unwrap_or_default();
    for title in ["NOTES", "EXAMPLES", "EXIT STATUS"] {
        let parts: Vec<&str> = (more.split("\n\n"))
            .filter_map(|part| of_section(title, part))
            .collect();
        if parts.is_empty() {
            continue;
        }
        let mut roff = Roff::new();
        roff.control("SH", [title]).control("nf", []);
        for line in parts.join("\n\n").lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []).to_writer(&mut page)?;
    }
    Ok(page)
}

/// What a paragraph of a help has to say in a section of the manual, if it belongs there.
fn of_section<'a>(title: &str, part: &'a str) -> Option<&'a str> {
    let examples = part.strip_prefix("Examples:\n");
    let codes = part.strip_prefix("Exit codes: ");
    match title {
        "EXAMPLES" => examples,
        "EXIT STATUS" => codes,
        _ => Some(part).filter(|_| examples.is_none() && codes.is_none()),
    }
}

/// Writes what a shell completes.
///
/// Returns an error if it cannot be written.
pub fn completions(mut program: Command, completions: &Completions) -> Result<Ended, String> {
    let mut text = Vec::new();
    clap_complete::generate(completions.shell, &mut program, "agg", &mut text);
    print(&text).map_err(unwritten)?;
    Ok(Ended::Done)
}

/// A reader that has seen enough is no error.
fn print(text: &[u8]) -> std::io::Result<()> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn unwritten(error: std::io::Error) -> String {
    format!("cannot write to standard output: {error}")
}
