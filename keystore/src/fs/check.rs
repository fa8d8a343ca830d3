//! Proof that a folder can hold the keys of a server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::check::{Report, Right, Step, clean, remove, scratch_name, use_scratch_key, within};
use crate::config;
use crate::fs::folder::Survey;
use crate::fs::{Found, FsStore};

/// Opens the folder and uses a scratch key in it. Folders that did not exist before are removed.
pub(crate) async fn check(
    fs: &config::Fs,
    stop: impl Future<Output = ()>,
    report: &mut Report<'_>,
) {
    // A folder that a check creates would belong to the user who checks, and not to the server's.
    let missing = missing_folders(&fs.path);
    let mut store = None;
    within(stop, report, async |report| match FsStore::open_untouched(fs).await {
        Ok((opened, found)) => {
            report.ok(format!("folder '{}' {}", fs.path.display(), text(&found, &missing)));
            store = Some(opened);
        }
        Err(error) => report.failed(error.to_string()),
    })
    .await;
    if let Some(store) = &store
        && !report.has_failed()
    {
        let scratch = scratch_name();
        use_scratch_key(store, &scratch, true, report).await;
        clean(remove(store, &scratch), &scratch, report).await;
        survey(store, report).await;
    }
    for folder in &missing {
        // This fails for a folder that somebody has put something into by now, and it stays.
        let _ = std::fs::remove_dir(folder);
    }
}

/// Looks at the keys that are there, which the user who checks may be unable to read, such as after
/// a restore.
async fn survey(store: &FsStore, report: &mut Report<'_>) {
    report.begin(Step::Right(Right::Read));
    let folder = Arc::clone(&store.backend().folder);
    match tokio::task::spawn_blocking(move || folder.survey()).await {
        Ok(Ok(survey)) if survey.useless > 0 => {
            let Survey { seen, useless, named } = survey;
            let more = if useless > named.len() { ", ..." } else { "" };
            report.failed(format!(
                "{useless} of {seen} keys cannot be used: {}{more}; the user of the server must be \
                 able to read and write each file, and one that is damaged has to be restored",
                named.join(", ")
            ));
        }
        Ok(Ok(_)) => {}
        Ok(Err(error)) => report.failed(format!("cannot look at the keys: {error}")),
        Err(ended) => report.failed(format!("cannot look at the keys: {ended}")),
    }
}

/// What was found of a folder.
fn text(found: &Found, missing: &[PathBuf]) -> String {
    let Found { id, is_empty } = found;
    let keys = if *is_empty { ", has no keys," } else { "" };
    match id {
        _ if !missing.is_empty() => "can be made".to_owned(),
        Some(id) => format!("is there{keys} and has the ID {id}"),
        None => format!("is there{keys} and has no marker yet: the server will write one"),
    }
}

/// The folders of a path that do not exist, the deepest first.
fn missing_folders(path: &Path) -> Vec<PathBuf> {
    path.ancestors()
        .filter(|folder| !folder.as_os_str().is_empty())
        .take_while(|folder| folder.symlink_metadata().is_err())
        .map(Path::to_owned)
        .collect()
}
