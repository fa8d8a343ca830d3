//! The command line (contract `cli.md`), as who types it sees it.
//!
//! Most of it stands in transcripts, a file a group of commands: see [`transcript`] for their
//! form. What a transcript cannot show, such as a terminal or a signal, is a test of its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]

mod follow;
mod input;
mod inspect;
mod live;
mod pattern;
mod terminal;
mod transcript;
mod trust;
mod view;

/// A test for each transcript file, and one that no file was forgotten.
macro_rules! transcripts {
    ($($(#[$attribute:meta])* $name:ident),* $(,)?) => {
        $(
            #[test]
            $(#[$attribute])*
            fn $name() {
                transcript::run(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/", stringify!($name), ".txt"));
            }
        )*

        #[test]
        fn every_transcript_is_run() {
            let mut files: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli"))
                .unwrap()
                .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".txt").map(str::to_owned))
                .collect();
            files.sort();
            assert_eq!(files, [$(stringify!($name)),*]);
        }
    };
}

transcripts!(
    environment,
    identity,
    key,
    ls,
    policy,
    policy_explain,
    policy_preset,
    policy_test,
    server_start,
    #[cfg_attr(feature = "fips", ignore = "a FIPS build says what it is")]
    status,
    #[cfg_attr(feature = "fips", ignore = "a FIPS build says what it is")]
    usage,
);
