//! `meshctl man`: manual pages, made from the command line itself, so that they say what `--help` says.

use std::path::Path;

use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output;

/// Prints meshctl(1), or writes it and a page for each command into a directory.
pub(super) fn run(directory: Option<&Path>) -> Result<(), Failure> {
    let command = Cli::command();
    let Some(directory) = directory else {
        let mut page = Vec::new();
        Man::new(command)
            .render(&mut page)
            .map_err(Failure::file("render", Path::new("meshctl.1")))?;
        return output::data(&String::from_utf8_lossy(&page));
    };
    std::fs::create_dir_all(directory).map_err(Failure::file("make", directory))?;
    clap_mangen::generate_to(command, directory).map_err(Failure::file("write to", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_a_page_for_every_command() {
        let dir = tempfile::tempdir().unwrap();
        let pages = dir.path().join("man1");
        run(Some(&pages)).unwrap();
        for name in ["meshctl", "meshctl-status", "meshctl-cluster-init"] {
            let page = std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
            assert!(page.contains(".SH SYNOPSIS"), "{name}: {page}");
        }
        let commands = Cli::command().get_subcommands().count();
        let written = std::fs::read_dir(&pages).unwrap().count();
        assert!(written > commands, "{written} pages, {commands} commands");
    }
}
