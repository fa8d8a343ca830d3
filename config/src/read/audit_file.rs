use super::path;
use crate::bounds::{AUDIT_FILE_AGE, AUDIT_FILE_SIZE};
use crate::value::{AlreadyReported, Value, by_word};
use crate::{AuditContext, AuditFile};

/// Reads the section; `None` without it.
pub(super) fn read(value: &Value<'_>) -> Result<Option<AuditFile>, AlreadyReported> {
    if !value.is_given() {
        return Ok(None);
    }
    let mut section = value.section("log.audit_file")?;
    let file = section.take("path").required_or("is required, such as /var/log/kes/audit.jsonl");
    let key_field = section.take("key");
    let key = key_field.filled();
    let max_size = size(&section.take("max_size"));
    let age_field = section.take("max_age");
    let max_age = age_field.duration_or(AuditFile::MAX_AGE);
    let keep = count(&section.take("keep"));
    let keep_for = section.take("keep_for").duration();
    let context_field = section.take("context");
    let context = context(&context_field);
    section.end();
    let (file, key, context, max_age) = (file?, key?, context?, max_age?);
    if file.as_str().ends_with('/') {
        return Err(file.mistake(format!("{} is a folder; name a file in it", file.shown())));
    }
    if max_age < AUDIT_FILE_AGE {
        return Err(
            age_field.mistake("a file is kept open for a minute at least; write 1m or more")
        );
    }
    if context == AuditContext::Hash && key.is_none() {
        let text = "names are hashed with the key, and there is none; set log.audit_file.key";
        return Err(context_field.mistake(text));
    }
    if key.is_none() {
        value.warn(
            "without a key, whoever can write the audit file can change it and make its chain anew; \
             set log.audit_file.key",
        );
    }
    Ok(Some(AuditFile {
        path: path(&file),
        key: key.as_ref().map(path),
        max_size: max_size?,
        max_age,
        keep: keep?,
        keep_for: keep_for?.filter(|time| !time.is_zero()),
        context,
    }))
}

fn context(value: &Value<'_>) -> Result<AuditContext, AlreadyReported> {
    let Some(text) = value.filled()? else { return Ok(AuditContext::On) };
    let written = text.as_str().to_ascii_lowercase();
    let context = match &*written {
        "true" | "yes" => Some(AuditContext::On),
        "false" | "no" => Some(AuditContext::Off),
        word => by_word(&AuditContext::ALL, AuditContext::word, word),
    };
    context.ok_or_else(|| text.mistake(format!("{} is neither on, hash nor off", text.shown())))
}

/// How many; 0 and nothing stand for all.
fn count(value: &Value<'_>) -> Result<Option<u32>, AlreadyReported> {
    let Some(text) = value.filled()? else { return Ok(None) };
    let is_digits = text.as_str().bytes().all(|byte| byte.is_ascii_digit());
    match text.as_str().parse::<u32>().ok().filter(|_| is_digits) {
        Some(count) => Ok(Some(count).filter(|count| *count > 0)),
        None => Err(text.mistake(format!(
            "{} is not a number of files; write a whole number, or 0 for all",
            text.shown()
        ))),
    }
}

/// A number of bytes.
fn size(value: &Value<'_>) -> Result<u64, AlreadyReported> {
    let Some(text) = value.filled()? else { return Ok(AuditFile::MAX_SIZE) };
    let Some(bytes) = bytes(text.as_str()) else {
        return Err(text.mistake(format!("{} is not a size; write it as 100MiB", text.shown())));
    };
    if AUDIT_FILE_SIZE.contains(&bytes) {
        return Ok(bytes);
    }
    Err(text.mistake(format!("{} is not a size from 4KiB to 1024GiB", text.shown())))
}

fn bytes(text: &str) -> Option<u64> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(at)?;
    let scale: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("4096", Some(4096)),
            ("100MiB", Some(100 << 20)),
            ("100 mib", Some(100 << 20)),
            ("1GB", Some(1_000_000_000)),
            ("64k", Some(64 << 10)),
            ("", None),
            ("MiB", None),
            ("-1", None),
            ("1.5GiB", None),
            ("1TiB", None),
            ("99999999999999999999", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
