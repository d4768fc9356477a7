//! docs/COMMANDS.md is the grammar, and every example in a help page is a line that the grammar takes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, ArgAction, Command};

const HEAD: &str = "# Commands\n\nEvery command, its flags and examples, made from the grammar that parses them.\n\
    Do not edit: `KLUIS_UPDATE_DOCS=1 cargo test --test reference` writes it anew.\n\n";

fn reference() -> String {
    let mut grammar = kluis::cli::grammar();
    grammar.build();
    let mut text = HEAD.to_owned();
    let about = grammar.get_about().map(ToString::to_string).unwrap_or_default();
    writeln!(text, "{about}\n").unwrap();
    text.push_str("| command | does |\n| --- | --- |\n");
    for (path, command) in commands(&grammar) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(text, "| [`{path}`](#{}) | {about} |", path.replace(' ', "-")).unwrap();
    }
    text.push_str("\n## Flags of every command\n\n");
    flags(&mut text, grammar.get_arguments().filter(|arg| arg.is_global_set()));
    if let Some(help) = grammar.get_after_help() {
        writeln!(text, "\n{help}").unwrap();
    }
    for (path, command) in commands(&grammar) {
        section(&mut text, &path, command);
    }
    text
}

/// The commands that do something, with their path, by the order of the grammar.
fn commands(grammar: &Command) -> Vec<(String, &Command)> {
    let mut found = Vec::new();
    for command in grammar.get_subcommands().filter(|command| command.get_name() != "help") {
        if command.has_subcommands() {
            found.extend(
                commands(command).into_iter().map(|(path, leaf)| (format!("{} {path}", command.get_name()), leaf)),
            );
        } else {
            found.push((command.get_name().to_owned(), command));
        }
    }
    found
}

fn section(text: &mut String, path: &str, command: &Command) {
    writeln!(text, "\n## {path}\n").unwrap();
    let about = command.get_long_about().or_else(|| command.get_about());
    writeln!(text, "{}\n", about.map(ToString::to_string).unwrap_or_default()).unwrap();
    let usage = command.clone().render_usage().to_string();
    writeln!(text, "```text\n{}\n```", usage.trim_start_matches("Usage: ")).unwrap();
    let own: Vec<&Arg> = command.get_arguments().filter(|arg| !arg.is_global_set() && shown(arg)).collect();
    if !own.is_empty() {
        text.push('\n');
        flags(text, own.into_iter());
    }
    if let Some(help) = command.get_after_help() {
        writeln!(text, "\n```text\n{}\n```", help.to_string().trim_end()).unwrap();
    }
}

fn shown(arg: &Arg) -> bool {
    !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version")
}

fn flags<'a>(text: &mut String, args: impl Iterator<Item = &'a Arg>) {
    text.push_str("| flag | meaning |\n| --- | --- |\n");
    for arg in args.filter(|arg| shown(arg)) {
        let mut names: Vec<String> = arg.get_short().map(|short| format!("-{short}")).into_iter().collect();
        names.extend(arg.get_long().map(|long| format!("--{long}")));
        let value = arg.get_value_names().map(|names| names.join(" ")).unwrap_or_default();
        let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
        let name = match (names.is_empty(), takes) {
            (true, _) => value,
            (false, true) => format!("{} {value}", names.join(", ")),
            (false, false) => names.join(", "),
        };
        let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let values: Vec<String> =
            arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
        if takes && !values.is_empty() {
            write!(meaning, " ({})", values.join(", ")).unwrap();
        }
        let default: Vec<_> = arg.get_default_values().iter().filter_map(|value| value.to_str()).collect();
        if let (true, [default]) = (takes && !arg.is_hide_default_value_set(), default.as_slice()) {
            write!(meaning, "; `{default}` if left out").unwrap();
        }
        writeln!(text, "| `{name}` | {} |", meaning.replace('|', "\\|").replace('\n', " ")).unwrap();
    }
}

#[test]
fn the_command_reference_is_the_grammar() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/COMMANDS.md");
    let text = reference();
    if std::env::var_os("KLUIS_UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == written, "docs/COMMANDS.md is not the grammar: KLUIS_UPDATE_DOCS=1 cargo test --test reference");
}

/// The `kluis …` parts of the lines below `EXAMPLES` of a help page, up to what the shell does with them.
fn examples(help: &str) -> Vec<String> {
    let Some(list) = help.split("EXAMPLES\n").nth(1) else { return Vec::new() };
    let lines = list.lines().take_while(|line| line.starts_with("  ")).map(str::trim);
    let mut whole: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in lines {
        let text = line.trim_end_matches('\\').trim_end();
        match (goes_on, whole.last_mut()) {
            (true, Some(last)) => *last = format!("{last} {text}"),
            _ => whole.push(text.to_owned()),
        }
        goes_on = line.ends_with('\\');
    }
    let parts = whole.iter().flat_map(|line| line.split([';', '|', '#', '>', '<'])).map(str::trim);
    let lines = parts.flat_map(|part| part.split("&&")).map(str::trim);
    lines.filter(|line| line.starts_with("kluis ")).map(str::to_owned).collect()
}

#[test]
fn every_example_in_a_help_page_is_a_command_that_there_is() {
    let mut grammar = kluis::cli::grammar();
    grammar.build();
    for (path, command) in commands(&grammar) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples = examples(&help);
        assert!(!examples.is_empty(), "{path} shows no example");
        for line in examples {
            let words = words(&line);
            if let Err(error) = kluis::cli::grammar().try_get_matches_from(&words) {
                panic!("{path}: {line}\n{error}");
            }
        }
    }
}

/// As a shell would split it, single and double quotes included.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            (' ', None) => words.push(std::mem::take(&mut word)),
            (c, _) => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_flag_and_every_command_is_explained() {
    let mut grammar = kluis::cli::grammar();
    grammar.build();
    for (path, command) in commands(&grammar) {
        assert!(command.get_about().is_some(), "{path}");
        for arg in command.get_arguments().filter(|arg| shown(arg)) {
            assert!(arg.get_help().is_some(), "{path} {}", arg.get_id());
        }
    }
}

/// The parser keeps values by name: a flag of one command that is called as a global one takes its value.
#[test]
fn no_flag_of_a_command_is_called_like_a_global_one() {
    let grammar = kluis::cli::grammar();
    let global: Vec<String> =
        grammar.get_arguments().filter(|arg| arg.is_global_set()).map(|arg| arg.get_id().to_string()).collect();
    assert!(global.len() > 10, "{global:?}");
    for (path, command) in commands(&grammar) {
        let own = command.get_arguments().map(|arg| arg.get_id().to_string());
        let shared: Vec<String> = own.filter(|id| global.contains(id)).collect();
        assert!(shared.is_empty() || path.is_empty(), "{path}: {shared:?}");
    }
}
