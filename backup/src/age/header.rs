//! ```text
//! age-encryption.org/v1
//! -> X25519 <share of the file>          a stanza for each recipient: its type and arguments,
//! <the file key, wrapped>                and its body, base64 in lines of 64 characters, the last shorter
//! --- <HMAC-SHA-256 of all before>
//! ```

use aws_lc_rs::hmac as mac;
use base64ct::{Base64Unpadded, Encoding as _};
use zeroize::Zeroizing;

use super::keys::{Identity, Recipient, agree};
use super::primitives::{FileKey, Key, TAG, cipher, derive, open, seal};
use super::{Error, MAX_RECIPIENTS, Opening, Sealing};

/// The first line.
const VERSION: &[u8] = b"age-encryption.org/v1\n";

/// How the first line of armor begins.
const ARMOR: &[u8] = b"-----BEGIN AGE";

/// The most bytes of a header: 256 recipients have some 26 KB.
pub(super) const MAX_LEN: usize = 64 * 1024;

/// The work factor of new files, as the program `age` has it: 256 MiB of memory, and about a second.
pub(super) const WORK: u8 = 18;

/// The greatest work factor that is taken: 1 GiB.
pub(super) const MAX_WORK: u8 = 20;

/// The characters in a line of a body.
const COLUMNS: usize = 64;

/// The bytes of the salt of scrypt.
const SALT: usize = 16;

/// What a file key is wrapped for.
const X25519: &str = "age-encryption.org/v1/X25519";
const SCRYPT: &str = "age-encryption.org/v1/scrypt";

/// No key is used twice.
const NO_NONCE: [u8; 12] = [0; 12];

/// A header that was read.
pub(super) struct Header {
    stanzas: Vec<Stanza>,
    mac: Vec<u8>,
    /// How many of its bytes the MAC is of.
    signed: usize,
    /// How many bytes it has.
    pub(super) len: usize,
}

struct Stanza {
    kind: String,
    arguments: Vec<String>,
    body: Vec<u8>,
}

/// The header of a new file.
pub(super) fn write(file_key: &FileKey, sealing: &Sealing<'_>, work: u8) -> Result<Vec<u8>, Error> {
    let mut text = VERSION.to_vec();
    match sealing {
        Sealing::Recipients(recipients) => {
            if !(1..=MAX_RECIPIENTS).contains(&recipients.len()) {
                return Err(Error::Recipients);
            }
            for Recipient(public) in *recipients {
                let private = Identity::generate();
                let Recipient(share) = private.recipient()?;
                let shared = agree(&private.private()?, public)?.ok_or(Error::Library)?;
                let key = derive(&[share, *public].concat(), shared.as_slice(), X25519)?;
                let share = Base64Unpadded::encode_string(&share);
                stanza(&mut text, &format!("X25519 {share}"), &wrap(&key, file_key)?);
            }
        }
        Sealing::Passphrase(passphrase) => {
            let mut salt = [0; SALT];
            kes_crypto::random::fill(&mut salt);
            let key = stretch(passphrase, &salt, work)?;
            let salt = Base64Unpadded::encode_string(&salt);
            stanza(&mut text, &format!("scrypt {salt} {work}"), &wrap(&key, file_key)?);
        }
    }
    text.extend_from_slice(b"---");
    let signed = mac::sign(&mac_key(file_key)?, &text);
    text.push(b' ');
    text.extend_from_slice(Base64Unpadded::encode_string(signed.as_ref()).as_bytes());
    text.push(b'\n');
    Ok(text)
}

fn stanza(text: &mut Vec<u8>, words: &str, body: &[u8]) {
    text.extend_from_slice(format!("-> {words}\n").as_bytes());
    let body = Base64Unpadded::encode_string(body);
    // 32 bytes are 43 characters, which fit into the last line.
    text.extend_from_slice(body.as_bytes());
    text.push(b'\n');
}

impl Header {
    /// Parses what a file begins with.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let Some(rest) = bytes.strip_prefix(VERSION) else {
            return Err(if bytes.starts_with(ARMOR) { Error::Armored } else { Error::NotAge });
        };
        let mut lines = Lines { rest, at: VERSION.len() };
        let mut stanzas = Vec::new();
        loop {
            let begin = lines.at;
            let line = lines.next()?;
            if let Some(mac) = line.strip_prefix("--- ") {
                let mac = decode(mac).filter(|mac| mac.len() == 32);
                let mac = mac.ok_or(Error::Header("its last line is no MAC"))?;
                let is_some = !stanzas.is_empty();
                return match is_some {
                    true => Ok(Self { stanzas, mac, signed: begin + 3, len: lines.at }),
                    false => Err(Error::Header("it is for nobody")),
                };
            }
            let words = line.strip_prefix("-> ").ok_or(Error::Header("a line is no stanza"))?;
            let is_word =
                |word: &str| !word.is_empty() && word.bytes().all(|c| c.is_ascii_graphic());
            if !words.split(' ').all(is_word) {
                return Err(Error::Header("a stanza has an argument that is none"));
            }
            let mut words = words.split(' ').map(str::to_owned);
            let kind = words.next().unwrap_or_default();
            stanzas.push(Stanza { kind, arguments: words.collect(), body: lines.body()? });
        }
    }

    /// The key of the file. `bytes` are those that were parsed.
    pub(super) fn file_key(&self, bytes: &[u8], opening: &Opening) -> Result<FileKey, Error> {
        let is_scrypt = self.stanzas.iter().any(|stanza| stanza.kind == "scrypt");
        if is_scrypt && self.stanzas.len() > 1 {
            return Err(Error::Header("there is another stanza beside the one for a passphrase"));
        }
        let key = match (opening, self.stanzas.as_slice()) {
            (Opening::Passphrase(passphrase), [stanza]) if is_scrypt => {
                by_passphrase(stanza, passphrase)?
            }
            (Opening::Passphrase(_), _) => return Err(Error::NeedsIdentity),
            (Opening::Identities(_), _) if is_scrypt => return Err(Error::NeedsPassphrase),
            (Opening::Identities(identities), stanzas) => by_identities(stanzas, identities)?,
        };
        let signed = bytes.get(..self.signed).ok_or(Error::Truncated)?;
        mac::verify(&mac_key(&key)?, signed, &self.mac).map_err(|_| Error::NotAuthentic)?;
        Ok(key)
    }
}

fn by_identities(stanzas: &[Stanza], identities: &[Identity]) -> Result<FileKey, Error> {
    // All are looked at first: a damaged one must not depend on who opens the file.
    let mut mine = Vec::new();
    for stanza in stanzas.iter().filter(|stanza| stanza.kind == "X25519") {
        let [share] = stanza.arguments.as_slice() else {
            return Err(Error::Header("a stanza for X25519 has not one argument"));
        };
        let share: [u8; 32] = decode(share)
            .and_then(|share| share.try_into().ok())
            .ok_or(Error::Header("a share for X25519 has not 32 bytes"))?;
        mine.push((share, wrapped(stanza)?));
    }
    for identity in identities {
        let Recipient(public) = identity.recipient()?;
        for (share, body) in &mine {
            let shared = identity.agree(share)?;
            let shared = shared.ok_or(Error::Header("a share for X25519 is of low order"))?;
            let key = derive(&[*share, public].concat(), shared.as_slice(), X25519)?;
            if let Some(file_key) = unwrap(&key, body)? {
                return Ok(file_key);
            }
        }
    }
    Err(Error::WrongIdentity)
}

fn by_passphrase(stanza: &Stanza, passphrase: &Zeroizing<String>) -> Result<FileKey, Error> {
    let [salt, work] = stanza.arguments.as_slice() else {
        return Err(Error::Header("the stanza for a passphrase has not two arguments"));
    };
    let salt: [u8; SALT] = decode(salt)
        .and_then(|salt| salt.try_into().ok())
        .ok_or(Error::Header("the salt of the passphrase has not 16 bytes"))?;
    let is_number = work.bytes().all(|digit| digit.is_ascii_digit()) && !work.starts_with('0');
    let number = work.parse::<u8>().ok().filter(|number| is_number && *number < 64);
    let work = number.ok_or(Error::Header("the work factor of the passphrase is no number"))?;
    let body = wrapped(stanza)?;
    if work > MAX_WORK {
        return Err(Error::Work(work));
    }
    unwrap(&stretch(passphrase, &salt, work)?, &body)?.ok_or(Error::WrongPassphrase)
}

/// A file key of another length would be a sign of an attack on the recipients of a file.
fn wrapped(stanza: &Stanza) -> Result<[u8; 16 + TAG], Error> {
    let body = stanza.body.as_slice().try_into();
    body.map_err(|_| Error::Header("the body of a stanza has not 32 bytes"))
}

fn wrap(key: &Key, file_key: &FileKey) -> Result<Vec<u8>, Error> {
    let mut body = Vec::with_capacity(16 + TAG);
    body.extend_from_slice(file_key.as_slice());
    seal(&cipher(key)?, NO_NONCE, &mut body)?;
    Ok(body)
}

fn unwrap(key: &Key, body: &[u8; 16 + TAG]) -> Result<Option<FileKey>, Error> {
    let mut body = Zeroizing::new(*body);
    if open(&cipher(key)?, NO_NONCE, body.as_mut_slice()) != Some(16) {
        return Ok(None);
    }
    let mut file_key = Zeroizing::new([0; 16]);
    file_key.iter_mut().zip(body.iter()).for_each(|(to, from)| *to = *from);
    Ok(Some(file_key))
}

/// scrypt with r = 8 and p = 1.
fn stretch(passphrase: &str, salt: &[u8; SALT], work: u8) -> Result<Key, Error> {
    let parameters = scrypt::Params::new(work, 8, 1).map_err(|_| Error::Library)?;
    let salt = [SCRYPT.as_bytes(), salt].concat();
    let mut key = Zeroizing::new([0; 32]);
    let made = scrypt::scrypt(passphrase.as_bytes(), &salt, &parameters, key.as_mut_slice());
    made.map(|()| key).map_err(|_| Error::Library)
}

fn mac_key(file_key: &FileKey) -> Result<mac::Key, Error> {
    let key = derive(&[], file_key.as_slice(), "header")?;
    Ok(mac::Key::new(mac::HMAC_SHA256, key.as_slice()))
}

/// Base64 without padding, in its one form.
fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = Base64Unpadded::decode_vec(text).ok()?;
    (Base64Unpadded::encode_string(&bytes) == text).then_some(bytes)
}

/// The lines of a header.
struct Lines<'a> {
    rest: &'a [u8],
    /// Where the rest begins.
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a str, Error> {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let too_long = || match self.at + self.rest.len() {
            MAX_LEN.. => Error::Header("it is longer than 64 KiB"),
            _ => Error::Truncated,
        };
        let (line, rest) =
            end.and_then(|end| self.rest.split_at_checked(end)).ok_or_else(too_long)?;
        self.rest = rest.get(1..).unwrap_or_default();
        self.at += line.len() + 1;
        std::str::from_utf8(line).map_err(|_| Error::Header("it is no text"))
    }

    /// The body of a stanza.
    fn body(&mut self) -> Result<Vec<u8>, Error> {
        let mut text = String::new();
        loop {
            let line = self.next()?;
            if line.len() > COLUMNS {
                return Err(Error::Header("a line of a body is too long"));
            }
            text.push_str(line);
            if line.len() < COLUMNS {
                return decode(&text).ok_or(Error::Header("a body is not base64"));
            }
        }
    }
}
