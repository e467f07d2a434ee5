//! `atelier-manual DIRECTORY DATE`: writes `man/*.1`, one page for each program and each of its commands, and `completions/`
//! for bash, zsh and fish. Options and their help come from the definitions of the command lines; everything else is in
//! `sections/`, in roff.

use std::env::args;
use std::fs::{File, create_dir_all};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

/// The sections that follow the options of each page, in this order.
const SECTIONS: [(&str, &[&str]); 8] = [
    ("atelier-etl", &[LOADER, DATABASE, include_str!("../sections/atelier-etl.roff")]),
    ("atelier-etl-load", &[LOADER, DATABASE, include_str!("../sections/load.roff")]),
    ("atelier-etl-check", &[LOADER, include_str!("../sections/check.roff")]),
    ("atelier-etl-generate", &[LOADER, include_str!("../sections/generate.roff")]),
    ("atelier-etl-status", &[LOADER, DATABASE, include_str!("../sections/status.roff")]),
    ("atelier-etl-verify", &[LOADER, DATABASE, include_str!("../sections/verify.roff")]),
    ("atelier-etl-rollback", &[LOADER, DATABASE, include_str!("../sections/rollback.roff")]),
    ("atelier-server", &[DATABASE, include_str!("../sections/atelier-server.roff")]),
];

const LOADER: &str = include_str!("../sections/exit-loader.roff");
const DATABASE: &str = include_str!("../sections/database.roff");

fn main() -> ExitCode {
    let arguments: Vec<String> = args().skip(1).collect();
    let [directory, date] = arguments.as_slice() else {
        eprintln!("usage: atelier-manual DIRECTORY DATE");
        return ExitCode::from(2);
    };
    let programs = [atelier_etl::cli::Cli::command(), atelier_server::config::Args::command()];
    for program in programs {
        if let Err(error) = write(program, Path::new(directory), date) {
            eprintln!("atelier-manual: cannot write to {directory}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Writes the pages and completions of a program.
fn write(program: Command, directory: &Path, date: &str) -> io::Result<()> {
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    create_dir_all(&man)?;
    create_dir_all(&completions)?;
    let name = program.get_name().to_owned();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut program.clone(), &name, &completions)?;
    }
    // `help COMMAND` is `COMMAND --help`, and has no page.
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let mut names = vec![name.clone()];
    let commands = program.get_subcommands().map(|command| format!("{name}-{}", command.get_name()));
    names.extend(commands);
    for command in std::iter::once(&program).chain(program.get_subcommands()) {
        let source = format!("{name} {}", env!("CARGO_PKG_VERSION"));
        write_page(command.clone(), &man, &names, &source, date)?;
    }
    Ok(())
}

/// Writes the page of a program or of one of its commands; `names` are all pages of the program.
fn write_page(command: Command, man: &Path, names: &[String], source: &str, date: &str) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let has_commands = command.has_subcommands();
    let page = Man::new(command).source(source).manual("Atelier Catalogue").date(date);
    let mut file = File::create(man.join(page.get_filename()))?;
    page.render_title(&mut file)?;
    page.render_name_section(&mut file)?;
    page.render_synopsis_section(&mut file)?;
    page.render_description_section(&mut file)?;
    page.render_options_section(&mut file)?;
    if has_commands {
        page.render_subcommands_section(&mut file)?;
    }
    let (_, sections) = SECTIONS
        .iter()
        .find(|(of, _)| *of == name)
        .ok_or_else(|| io::Error::other(format!("the page {name} has no sections")))?;
    for section in *sections {
        file.write_all(section.as_bytes())?;
    }
    let others = names.iter().map(String::as_str).filter(|other| *other != name);
    let other_program = if names[0] == "atelier-etl" { "atelier-server" } else { "atelier-etl" };
    let also: Vec<String> =
        others.chain([other_program]).map(|other| format!(".BR {} (1)", escaped(other))).collect();
    writeln!(file, ".SH \"SEE ALSO\"\n{}", also.join(" ,\n"))
}

/// Escapes a name for roff, which may print a bare `-` as a hyphen.
fn escaped(name: &str) -> String {
    name.replace('-', "\\-")
}
