//! `completions`: what a shell reads to complete commands, options and their values.

use clap::CommandFactory as _;

use super::Exit;
use super::args::{Cli, CompletionsArgs};
use super::terminal::Terminal;

/// Prints the script.
pub(super) fn print(args: &CompletionsArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "conclave", &mut script);
    terminal.print(&String::from_utf8(script)?)?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use clap::ValueEnum as _;
    use clap_complete::Shell;

    use super::super::terminal::testkit::piped;
    use super::*;

    fn script(shell: Shell) -> String {
        let (mut terminal, out, _) = piped();
        print(&CompletionsArgs { shell }, &mut terminal).unwrap();
        out.text()
    }

    fn bash(script: &str) -> String {
        let output = Command::new("bash").args(["-c", script]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn every_shell_is_offered_every_command() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for command in Cli::command().get_subcommands() {
                assert!(
                    script.contains(command.get_name()),
                    "{shell} {}",
                    command.get_name()
                );
            }
        }
    }

    #[test]
    fn the_script_for_bash_parses_and_completes_commands_and_options() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("conclave.bash");
        std::fs::write(&path, script(Shell::Bash)).unwrap();
        let path = path.display();
        bash(&format!("bash -n {path}"));
        // As bash calls it: command, word under the cursor, word before.
        let completed = |words: &str, at: usize, word: &str, before: &str| {
            bash(&format!(
                "source {path}; COMP_WORDS=({words}); COMP_CWORD={at}; \
                 _conclave conclave '{word}' '{before}'; echo \"${{COMPREPLY[@]}}\""
            ))
        };
        let commands = completed("conclave ''", 1, "", "conclave");
        for command in Cli::command().get_subcommands() {
            assert!(commands.contains(command.get_name()), "{commands}");
        }
        assert_eq!(
            completed("conclave wat", 1, "wat", "conclave").trim(),
            "watch"
        );
        let options = completed("conclave serve --gr", 2, "--gr", "serve");
        assert_eq!(options.trim(), "--grpc-addr");
    }
}
