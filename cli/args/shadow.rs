//! `kes shadow`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kes_client::Endpoint;
use kes_config::Address;

use super::Connect;
use super::list::items;

/// The arguments of `kes shadow`.
#[derive(Args)]
pub(crate) struct ShadowArgs {
    /// The old server, which is in use
    #[arg(long, value_name = "[host]:port")]
    pub to: Option<Endpoint>,
    /// The new server, which is to take its place
    #[arg(long, value_name = "[host]:port")]
    pub new: Option<Endpoint>,
    /// Listen on this address
    #[arg(long, value_name = "[ip]:port", default_value = "0.0.0.0:7373")]
    pub addr: Address,
    /// The private key to listen with, such as that of the old server
    #[arg(long, value_name = "file")]
    pub key: Option<PathBuf>,
    /// The certificate of this private key
    #[arg(long, value_name = "file")]
    pub cert: Option<PathBuf>,
    /// Whose answers the clients get
    #[arg(long, value_name = "server", default_value = "old")]
    pub answer: AnswerOf,
    /// Whether both servers have the same key store: if they do, changes of keys go to the server
    /// alone that answers
    #[arg(long, value_name = "which", default_value = "shared")]
    pub stores: SharedOrNot,
    /// Pass on requests of this identity, with the credential of the environment or the one in a
    /// file (an API key, or PEM of a private key and its certificate); may be given many times
    #[arg(long, value_name = "identity[=file]", value_parser = ClientList::parse)]
    pub client: Vec<ClientList>,
    /// Pass on requests of all clients, as a TLS proxy of both servers
    #[arg(long)]
    pub proxy: bool,
    /// How often a summary is printed
    #[arg(
        long,
        value_name = "duration",
        default_value = "1h",
        value_parser = kes_config::parse_duration
    )]
    pub summary: Duration,
    /// Print names of keys, and identities of unknown clients
    #[arg(long)]
    pub names: bool,
    #[command(flatten)]
    pub connect: Connect,
}

/// Whose answers the clients get: those of the old server, or of the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnswerOf {
    Old,
    New,
}

/// Whether both servers have the same key store, or each has its own with the same keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SharedOrNot {
    Shared,
    Separate,
}

/// The value of one `--client`.
#[derive(Clone, Debug)]
pub(crate) struct ClientList(pub(crate) Vec<Client>);

/// A client, and the file of its credential, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) identity: kes_api::Identity,
    pub(crate) file: Option<PathBuf>,
}

impl ClientList {
    fn parse(text: &str) -> Result<Self, String> {
        let client = |item: String| {
            let (identity, file) = match item.split_once('=') {
                Some((identity, file)) => (identity, Some(PathBuf::from(file))),
                None => (&*item, None),
            };
            let identity = identity.parse().map_err(|error| format!("{error}"))?;
            Ok(Client { identity, file })
        };
        items(text).map(client).collect::<Result<_, String>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_an_identity_and_perhaps_a_file() {
        let id = "7e1c8a3d0b5f4e6a9c2d1f0e3b4a5968778695a4b3c2d1e0f9e8d7c6b5a49382";
        let identity = id.parse().unwrap();
        let list = ClientList::parse(&format!("{id}, \"{id}=a.key\",")).unwrap().0;
        let file = Some(PathBuf::from("a.key"));
        assert_eq!(list, [Client { identity, file: None }, Client { identity, file }]);
        assert!(ClientList::parse("minio").unwrap_err().contains("64 hexadecimal digits"));
    }
}
