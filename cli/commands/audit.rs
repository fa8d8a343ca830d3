//! `kes audit`: checks audit files and finds lines in them. Nothing is asked of a server.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kes_audit::entry::{Entry, Object};
use kes_audit::note::{Checkpoint, logged_heads, verifier};
use kes_audit::search::{Search, in_order, search};
use kes_audit::verify::{Finding, Known, Report, verify};
use kes_audit::{AuditKey, Input, open};
use serde::Serialize;

use crate::args::{AuditCommand, AuditKeyArgs, GrepAudit, VerifyAudit};
use crate::error::usage;
use crate::input::STDIN;
use crate::output::{BAD, GOOD, Output, WARN, clean, warning};

/// The most bytes that are read from standard input, which is kept in memory.
const MAX_STDIN: u64 = 1024 * 1024 * 1024;

/// The most bytes of a checkpoint, with the signatures of witnesses.
const MAX_CHECKPOINT: u64 = 64 * 1024;

pub(super) fn run(command: AuditCommand) -> Result<()> {
    match command {
        AuditCommand::Verify(args) => run_verify(args),
        AuditCommand::Grep(args) => run_grep(args),
        AuditCommand::Key(args) => run_key(&args),
    }
}

/// A report, and whether it is good.
#[derive(Serialize)]
struct Verdict<'a> {
    good: bool,
    #[serde(flatten)]
    report: &'a Report,
}

fn run_verify(args: VerifyAudit) -> Result<()> {
    const COMMAND: &str = "kes audit verify";
    let mut known =
        Known { keys: keys(&args.key_file)?, heads: args.head, checkpoints: Vec::new() };
    if let Some(file) = &args.heads {
        let what = || format!("failed to read the heads in {}", file.display());
        let text = String::from_utf8_lossy(&read(file, MAX_STDIN).with_context(what)?).into_owned();
        let heads = logged_heads(&text);
        if heads.is_empty() {
            bail!("no head of an audit file is in {}", file.display());
        }
        known.heads.extend(heads);
    }
    let mut inputs = Vec::new();
    for input in self::inputs(args.files, COMMAND)? {
        match checkpoint(&input)? {
            Some(text) => known.checkpoints.push((input.name(), text)),
            None => inputs.push(input),
        }
    }
    let report = verify(&inputs, &known);
    let mut output = Output::with_color(args.format.color);
    if args.format.json {
        output.json(&Verdict { good: report.is_good(), report: &report })?;
    } else {
        show(&mut output, &report)?;
    }
    match report.findings.len() + report.more {
        0 => Ok(()),
        1 => bail!("the audit log was changed, or cannot be checked: 1 finding"),
        count => bail!("the audit log was changed, or cannot be checked: {count} findings"),
    }
}

fn show(output: &mut Output, report: &Report) -> Result<()> {
    for (findings, style, label) in
        [(&report.notes, WARN, "Note"), (&report.findings, BAD, "Found")]
    {
        for finding in findings {
            output.print(&format!("{style}{label}{style:#} {}\n", clean(&place(finding))))?;
        }
    }
    if report.more > 0 {
        let are = if report.more == 1 { "is" } else { "are" };
        output.print(&format!("{} more {are} not shown\n", report.more))?;
    }
    if report.segments == 0 {
        return Ok(());
    }
    let result = match report.is_good() {
        true => format!("{GOOD}unchanged{GOOD:#}"),
        false => format!("{BAD}changed, or not to be checked{BAD:#}"),
    };
    let chain = match report.keyed {
        true => "HMAC-SHA-256",
        false => "SHA-256 without a key: whoever can write the files can make another chain",
    };
    let vouched = match report.vouched {
        0 => "nothing: without a kept head or checkpoint, lines cut from the end are not found"
            .to_owned(),
        line if line == report.last => "the last line".to_owned(),
        line => {
            let after = report.last - line;
            let s = if after == 1 { "" } else { "s" };
            format!("line {line}: {after} line{s} after it could have been cut")
        }
    };
    output.table(&[
        ("Log", report.log.clone()),
        ("Segments", report.segments.to_string()),
        ("Lines", format!("{} to {}", report.first, report.last)),
        ("Chain", chain.to_owned()),
        ("Vouched for", vouched),
        ("Head", format!("{}:{}", report.last, report.head)),
    ])?;
    output.print(&format!("Result      {result}\n"))
}

/// `file:12 (line 34 of the chain): what`
fn place(finding: &Finding) -> String {
    let line = finding.line.map(|line| format!(":{line}")).unwrap_or_default();
    let seq = finding.seq.map(|seq| format!(" (line {seq} of the chain)")).unwrap_or_default();
    format!("{}{line}{seq}: {}", finding.file, finding.text)
}

fn run_grep(args: GrepAudit) -> Result<()> {
    let wanted = Search {
        identity: args.identity,
        policy: args.policy,
        key: args.key,
        operation: args.operation,
        bucket: args.bucket,
        object: args.object,
        status: args.status,
        since: args.since,
        until: args.until,
        hashed_with: keys(&args.key_file)?,
    };
    let mut inputs = inputs(args.files, "kes audit grep")?;
    let mut output = Output::with_color(args.format.color);
    // `audit.jsonl*` matches the checkpoint too.
    let mut kept = Vec::new();
    for input in inputs.drain(..) {
        if checkpoint(&input)?.is_none() {
            kept.push(input);
        }
    }
    let (mut unsealed, mut hashed, mut left_out) = (0, 0, 0);
    for input in in_order(&kept) {
        let what = || format!("failed to read {}", input.name());
        let missed = search(&input, &wanted, |line, entry| -> Result<()> {
            if args.format.json { output.json_line(line) } else { output.print(&row(entry)) }
        })
        .with_context(what)?;
        unsealed += missed.unsealed;
        hashed += missed.hashed;
        left_out += missed.left_out;
    }
    match unsealed {
        0 => {}
        1 => warning(
            "1 line was left out that is no whole line of an audit file; 'kes audit verify' tells where it is",
        ),
        _ => warning(&format!(
            "{unsealed} lines were left out that are no whole lines of an audit file; 'kes audit verify' tells where they are"
        )),
    }
    match (hashed, left_out) {
        (0, 0) => Ok(()),
        (0, 1) => bail!("1 more record may match: it does not tell all of its objects"),
        (0, _) => bail!("{left_out} more records may match: they do not tell all of their objects"),
        _ => {
            let s = if hashed == 1 { "" } else { "s" };
            bail!(
                "{hashed} more record{s} may match: names in a record are hashed, and can be compared with a whole --bucket, a whole --object or none, and --key-file with the key of the file"
            )
        }
    }
}

/// A line for a person.
fn row(entry: &Entry<'_>) -> String {
    let identity = match entry.identity {
        None => "-".to_owned(),
        Some(identity) if entry.admin => format!("admin {}…", short(&identity.to_string())),
        Some(identity) => {
            format!("{} {}…", entry.policy.as_deref().unwrap_or("-"), short(&identity.to_string()))
        }
    };
    let status = entry.status.map_or_else(|| (*entry.kind).to_owned(), |status| status.to_string());
    let took = entry.duration_us.map(|micros| format!("{:.1?}", Duration::from_micros(micros)));
    let address = entry.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
    let what = entry.operation.as_deref().or(entry.path.as_deref()).unwrap_or("-");
    let mut row = format!(
        "{time}  {status:3}  {took:>8}  {address:15}  {identity}  {what}",
        time = entry.time.to_table(),
        took = took.unwrap_or_default(),
    );
    for name in [&entry.key, &entry.name].into_iter().flatten() {
        row += &format!(" {name}");
    }
    for Object { bucket, object, context, bucket_hash, object_hash } in entry.objects() {
        let bucket = bucket.or(bucket_hash).unwrap_or_default();
        match object.or(object_hash) {
            Some(object) => {
                row += &format!("  {bucket}/{object}");
                row.extend(context.map(|context| format!(" {context}")));
            }
            None => row += &format!("  {}", context.unwrap_or(bucket)),
        }
    }
    for text in [&entry.message, &entry.reason].into_iter().flatten() {
        row += &format!("  {text}");
    }
    clean(&row).into_owned()
}

fn short(identity: &str) -> &str {
    identity.get(..12).unwrap_or(identity)
}

/// What `kes audit key` prints.
#[derive(Serialize)]
struct KeyInfo<'a> {
    key: &'a str,
    verifier: &'a str,
}

fn run_key(args: &AuditKeyArgs) -> Result<()> {
    let file = args.file.clone().ok_or_else(|| usage("no file with a key", "kes audit key"))?;
    let keys = keys(&[file])?;
    let mut output = Output::with_color(args.format.color);
    for key in &keys {
        let (id, verifier) = (key.id(), verifier(key));
        if args.format.json {
            output.json(&KeyInfo { key: id, verifier: &verifier })?;
        } else {
            output.table(&[("Key", id.to_owned()), ("Verifier", verifier)])?;
        }
    }
    Ok(())
}

fn keys(files: &[PathBuf]) -> Result<Vec<AuditKey>> {
    let read = |file: &PathBuf| {
        AuditKey::of_file(file)
            .with_context(|| format!("failed to read the key in {}", file.display()))
    };
    files.iter().map(read).collect()
}

fn inputs(files: Vec<PathBuf>, command: &str) -> Result<Vec<Input>> {
    if files.is_empty() {
        return Err(usage("no audit file", command));
    }
    let input = |file: PathBuf| {
        if file.as_os_str() == STDIN {
            let bytes = read(&file, MAX_STDIN).context("failed to read standard input")?;
            return Ok(Input::Bytes(STDIN.to_owned(), bytes));
        }
        let (path, _) =
            open(&file).with_context(|| format!("failed to open {}", file.display()))?;
        Ok(Input::File(path))
    };
    files.into_iter().map(input).collect()
}

/// The text of an input that is a checkpoint.
fn checkpoint(input: &Input) -> Result<Option<String>> {
    let bytes = match input {
        Input::Open(..) => return Ok(None),
        Input::File(path) => {
            let mut start = Vec::new();
            let what = || format!("failed to read {}", path.display());
            open(path)?.1.take(64).read_to_end(&mut start).with_context(what)?;
            if !Checkpoint::is_likely(&start) {
                return Ok(None);
            }
            read(path, MAX_CHECKPOINT).with_context(what)?
        }
        Input::Bytes(_, bytes) => bytes.clone(),
    };
    let is_likely = Checkpoint::is_likely(&bytes);
    Ok(is_likely.then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

/// All of a file, or of standard input, up to a limit.
fn read(file: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if file.as_os_str() == STDIN {
        std::io::stdin().lock().take(most + 1).read_to_end(&mut bytes)?
    } else {
        File::open(file)?.take(most + 1).read_to_end(&mut bytes)?
    };
    if u64::try_from(read).is_ok_and(|read| read > most) {
        let text = format!("it has more than {most} bytes");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        row(&serde_json::from_str(line).unwrap())
    }

    #[test]
    fn a_request_is_a_row() {
        let identity = "bd361f98d45e59575eae2080a1044ff2280ae7621f7dfaf3ba68af2ec945f378";
        let line = format!(
            r#"{{"seq":3,"time":"2026-11-22T02:24:08.5Z","kind":"request","request":1,"operation":"DecryptKey","identity":"{identity}","policy":"minio","address":"10.0.0.1","key":"k","status":200,"duration_us":2400,"bucket":"b","object":"a/\u001bo"}}"#
        );
        assert_eq!(
            shown(&line),
            r"2026-11-22 02:24:08  200     2.4ms  10.0.0.1         minio bd361f98d45e…  DecryptKey k  b/a/\u{1b}o"
        );
        let line = r#"{"seq":3,"time":"2026-11-22T02:24:08Z","kind":"announced","operation":"CreateKey","key":"k","reason":"why"}"#;
        assert_eq!(
            shown(line),
            "2026-11-22 02:24:08  announced            -                -  CreateKey k  why"
        );
        let line = r#"{"seq":3,"time":"2026-11-22T02:24:08Z","kind":"request","path":"/x","status":404,"duration_us":1,"objects":[{"context":"c"},{"bucket":"b","object":"o"}]}"#;
        assert!(shown(line).ends_with("-  /x  c  b/o"), "{}", shown(line));
    }
}
