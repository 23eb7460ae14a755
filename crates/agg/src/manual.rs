//! `agg man` and `agg completions`: manual pages and shell completions, generated from the definitions of the
//! arguments, so that they match the program. Packages contain what this generates when they are built.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use roff::{Roff, roman};

use crate::exit_status::ExitStatus;

/// The arguments of `agg man`.
#[derive(Args)]
#[command(after_help = PAGES)]
pub struct Pages {
    /// Write one page per command to this directory [default: print the page of agg]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

const PAGES: &str = "\
Examples:
  agg man | man -l -             read the page of agg
  agg man --dir /usr/local/share/man/man1";

/// The arguments of `agg completions`.
#[derive(Args)]
#[command(after_help = COMPLETIONS)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

const COMPLETIONS: &str = "\
Examples:
  source <(agg completions bash)
  agg completions zsh > ~/.zfunc/_agg
  agg completions fish > ~/.config/fish/completions/agg.fish";

/// Writes manual pages.
///
/// # Errors
/// They cannot be written.
pub fn pages(program: Command, pages: &Pages) -> Result<ExitStatus, String> {
    // The pages of the help commands would repeat the others.
    let mut program = program.disable_help_subcommand(true);
    program.build();
    match &pages.dir {
        Some(dir) => write_all(&program, dir)
            .map_err(|error| format!("cannot write to {}: {error}", dir.display()))?,
        None => {
            let rendered = page(&program);
            rendered
                .and_then(|page| print(&page))
                .map_err(write_error)?;
        }
    }
    Ok(ExitStatus::Success)
}

/// Writes the page of a command and those of its subcommands.
fn write_all(command: &Command, dir: &Path) -> std::io::Result<()> {
    for subcommand in command.get_subcommands() {
        write_all(subcommand, dir)?;
    }
    let name = Man::new(command.clone()).get_filename();
    std::fs::write(dir.join(name), page(command)?)
}

/// Returns the page of a command. The text after the options of its help is preformatted, so that its lines are kept.
fn page(command: &Command) -> std::io::Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .source(format!("agg {}", env!("CARGO_PKG_VERSION")))
        .manual("aggregator")
        // A space, as the other fields would move into the place of an empty one.
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
            .filter_map(|part| in_section(title, part))
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

/// Returns the text of a paragraph of the help, if it belongs to this section of the manual.
fn in_section<'a>(title: &str, part: &'a str) -> Option<&'a str> {
    let examples = part.strip_prefix("Examples:\n");
    let codes = part.strip_prefix("Exit codes: ");
    match title {
        "EXAMPLES" => examples,
        "EXIT STATUS" => codes,
        _ => Some(part).filter(|_| examples.is_none() && codes.is_none()),
    }
}

/// Writes the completions of a shell.
///
/// # Errors
/// They cannot be written.
pub fn completions(mut program: Command, completions: &Completions) -> Result<ExitStatus, String> {
    let mut text = Vec::new();
    clap_complete::generate(completions.shell, &mut program, "agg", &mut text);
    print(&text).map_err(write_error)?;
    Ok(ExitStatus::Success)
}

/// Prints a text. A reader that closes the output early is no error.
fn print(text: &[u8]) -> std::io::Result<()> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn write_error(error: std::io::Error) -> String {
    format!("cannot write to standard output: {error}")
}
