use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use crate::file;
use crate::{Error, Fault};

/// Reads the password of a private key from a file: all of it, without the line break at its end,
/// which editors and `echo` add.
///
/// # Errors
/// [`Error::File`] if the file cannot be read, or is no text.
pub fn load_password(path: &Path) -> Result<Zeroizing<String>, Error> {
    let bytes = file::read(path).map_err(|fault| fault.at(path))?;
    let text = str::from_utf8(&bytes).map_err(|_| {
        let error = io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8");
        Fault::Read { error }.at(path)
    })?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_not_part_of_a_password() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (content, password) in [
            ("secret", "secret"),
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            (" secret \n\n", " secret \n"),
            ("a\rb", "a\rb"),
            ("", ""),
        ] {
            std::fs::write(file.path(), content).unwrap();
            assert_eq!(load_password(file.path()).unwrap().as_str(), password, "{content:?}");
        }
        std::fs::write(file.path(), [0xff]).unwrap();
        let error = load_password(file.path()).unwrap_err().to_string();
        assert!(error.ends_with("cannot be read: it is not UTF-8"), "{error}");
        std::fs::remove_file(file.path()).unwrap();
        assert!(load_password(file.path()).is_err());
    }
}
