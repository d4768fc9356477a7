//! Rendering: one answer, written for people or as JSON; findings, failures and notes always in one way.

use std::ffi::OsString;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::forms::{self, SHOWN_ALIKE};
use super::global::{Global, Output};
use crate::model::{Finding, Level, displayed};
use crate::ops::{Failure, Progress};

/// What a command found out or did.
pub trait Report {
    /// Writes it for people, to stdout.
    fn human(&self, out: &mut dyn Write) -> io::Result<()>;
    /// Writes what belongs below the findings, for people: the verdict.
    fn verdict(&self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
    /// The command's own part of the JSON object.
    fn data(&self) -> Value;
    /// Writes it as a comment in Markdown; `None` where the findings alone make it.
    fn markdown(&self, _out: &mut dyn Write, _findings: &[Finding]) -> Option<io::Result<()>> {
        None
    }
    /// Whether the human form is for programs too (a PEM block, a script): then nothing is added to it.
    fn is_raw(&self) -> bool {
        false
    }
    /// Whether the human form is one value that scripts take, so that findings go to stderr.
    fn is_value(&self) -> bool {
        self.is_raw()
    }
}

/// A text that goes on to another program as it is: a manifest, a script.
pub struct Text {
    /// The text.
    pub content: String,
    /// The command's own part of the JSON object, the text in it.
    pub data: Value,
}

impl Report for Text {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.content.as_bytes())
    }

    fn data(&self) -> Value {
        self.data.clone()
    }

    fn is_value(&self) -> bool {
        true
    }
}

/// A report with its exit code and findings.
pub struct Answer {
    /// What the command has to say.
    pub report: Box<dyn Report>,
    /// What is wrong or owed.
    pub findings: Vec<Finding>,
    /// The exit code.
    pub exit: u8,
}

impl Answer {
    /// An answer that ends 0 and has no findings.
    pub fn fine(report: impl Report + 'static) -> Self {
        Self { report: Box::new(report), findings: Vec::new(), exit: 0 }
    }

    /// An answer of a command that wrote what it was asked to: it ends 0, and what is then owed is a note.
    pub fn written(report: impl Report + 'static, owed: &[Finding]) -> Self {
        let findings = owed.iter().cloned().map(|finding| finding.level(Level::Note)).collect();
        Self { report: Box::new(report), findings, exit: 0 }
    }

    /// An answer of a command whose findings decide its exit code.
    pub fn judged(report: impl Report + 'static, findings: Vec<Finding>) -> Self {
        let exit = crate::trust::exit_code(&findings);
        Self { report: Box::new(report), findings, exit }
    }
}

/// Whether the words ask for JSON, before they are parsed: a usage error is reported as asked, too.
pub fn wants_json(args: &[OsString]) -> bool {
    let words: Vec<&str> = args.iter().filter_map(|word| word.to_str()).collect();
    words.windows(2).any(|pair| matches!(pair, ["-o" | "--output", "json"]))
        || words.iter().any(|word| matches!(*word, "-ojson" | "-o=json" | "--output=json"))
}

fn envelope(command: &str, exit: u8, findings: &[Finding], notes: &[String], mut data: Value) -> Value {
    if let (false, Value::Object(map)) = (notes.is_empty(), &mut data) {
        map.insert("notes".to_owned(), json!(notes));
    }
    json!({ "kluis": "report/1", "command": command, "exit": exit, "findings": findings, "data": data })
}

fn write_json(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// Prints what clap says: help and versions to stdout, usage errors to stderr or as JSON.
/// `command` is what of the command was understood.
pub fn grammar_error(error: &clap::Error, command: &str, json: bool, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    if !error.use_stderr() {
        let _ = write!(out, "{error}");
        return 0;
    }
    let help = ["kluis", command, "--help"].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if json {
        let text = error.to_string();
        // The first paragraph: what is wrong, and below it which arguments.
        let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let what = lines.join(" ").trim_start_matches("error: ").to_owned();
        let _ = write_json(out, &envelope(command, 2, &[], &[], json!({ "error": what, "help": help })));
    } else {
        let text = error.to_string();
        let text = text.split("\n\nFor more information").next().unwrap_or_default();
        let _ = write!(err, "{}\n  help: {help}\n", text.trim_end());
    }
    2
}

struct Paint(bool);

impl Paint {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn level(&self, level: Level) -> String {
        match level {
            Level::Error => self.paint("1;31", "error"),
            Level::Attention => self.paint("1;33", "attention"),
            Level::Note => self.paint("1;36", "note"),
        }
    }
}

/// Writes findings for people, the gravest first: one line each, and the remedy below. Those that say the same
/// of many files are cut short, so that a cluster with a thousand nodes doesn't bury what else is wrong.
fn write_findings(out: &mut dyn Write, findings: &[Finding], paint: &Paint) -> io::Result<()> {
    for group in forms::alike(findings) {
        for finding in group.iter().take(SHOWN_ALIKE) {
            let path = finding.path.as_ref().map(|path| format!("{}: ", displayed(path))).unwrap_or_default();
            let level = paint.level(finding.level);
            writeln!(out, "{level}[{}]: {path}{}", finding.code, displayed(&finding.why))?;
        }
        if group.len() > SHOWN_ALIKE {
            writeln!(out, "  and {} more like these; -o json names them all", group.len() - SHOWN_ALIKE)?;
        }
        if let Some(fix) = &group[0].fix {
            writeln!(out, "  help: {}", displayed(&fix.to_string()))?;
        }
    }
    Ok(())
}

/// Prints an answer; returns its exit code, or 1 where stdout can't be written.
pub fn answer(
    command: &str,
    global: &Global,
    answer: &Answer,
    notes: &[String],
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let paint = Paint(global.paint());
    let printed = match global.output() {
        Output::Json if answer.report.is_raw() => {
            let what = "this command's answer is a stream for programs already; leave -o json out";
            return failure(command, Output::Json, &Failure::usage(what), notes, false, out, err);
        }
        Output::Markdown | Output::Sarif | Output::Github if answer.report.is_value() => {
            let what = "this command's answer is no list of findings; leave -o out, or ask for json";
            return failure(command, Output::Human, &Failure::usage(what), notes, false, out, err);
        }
        Output::Markdown => match answer.report.markdown(out, &answer.findings) {
            Some(written) => written,
            None => forms::markdown(out, command, answer.exit, &answer.findings),
        },
        Output::Sarif => forms::sarif(out, &answer.findings),
        Output::Github => forms::annotations(out, &answer.findings),
        Output::Json => write_json(out, &envelope(command, answer.exit, &answer.findings, notes, answer.report.data())),
        Output::Human => answer.report.human(out).and_then(|()| {
            let list: &mut dyn Write = if answer.report.is_value() { err } else { out };
            write_findings(list, &answer.findings, &paint)?;
            answer.report.verdict(list)
        }),
    };
    if global.output() != Output::Json {
        for note in notes {
            let _ = writeln!(err, "{}: {}", paint.level(Level::Note), displayed(note));
        }
    }
    match printed.and_then(|()| out.flush()) {
        Ok(()) => answer.exit,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => answer.exit,
        Err(error) => {
            let _ = writeln!(err, "error: the answer can't be written: {error}");
            1
        }
    }
}

/// Prints a failure; returns its exit code.
pub fn failure(
    command: &str,
    output: Output,
    failure: &Failure,
    notes: &[String],
    paint: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let help = failure.help.as_ref().map(ToString::to_string);
    if output == Output::Json {
        let data = json!({ "error": failure.what, "help": help });
        let _ = write_json(out, &envelope(command, failure.exit, &failure.findings, notes, data));
        return failure.exit;
    }
    // Whoever reads the stream still gets a whole document, with what was found until then.
    let _ = match output {
        Output::Markdown => forms::markdown(out, command, failure.exit, &failure.findings),
        Output::Sarif => forms::sarif(out, &failure.findings),
        Output::Github => forms::annotations(out, &failure.findings),
        Output::Human | Output::Json => Ok(()),
    };
    let paint = Paint(paint);
    for note in notes {
        let _ = writeln!(err, "{}: {}", paint.level(Level::Note), displayed(note));
    }
    let _ = writeln!(err, "{}: {}", paint.level(Level::Error), displayed(&failure.what));
    let _ = write_findings(err, &failure.findings, &paint);
    let shown = failure.findings.iter().any(|finding| finding.fix.as_ref().map(ToString::to_string) == help);
    if let (Some(help), false) = (help, shown) {
        let _ = writeln!(err, "  help: {}", displayed(&help));
    }
    failure.exit
}

/// Draws the progress of long work on stderr, from the command's second second on; nothing where nobody looks.
pub fn progress(output: Output) -> Progress {
    use std::io::IsTerminal as _;
    if output != Output::Human || !io::stderr().is_terminal() {
        return Box::new(|_, _, _| {});
    }
    let mut bar: Option<indicatif::ProgressBar> = None;
    // Of the command and not of each part of it: many short parts are long work too.
    let began = std::time::Instant::now();
    Box::new(move |what, done, total| {
        if done >= total {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
        } else if began.elapsed().as_secs() >= 1 {
            let bar = bar.get_or_insert_with(|| {
                let style = indicatif::ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}");
                let bar = indicatif::ProgressBar::new(total as u64);
                bar.with_style(style.expect("a template of indicatif's own words"))
            });
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_message(what.to_owned());
        }
    })
}
