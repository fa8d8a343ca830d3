//! The page in a real browser.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kes_testkit::{Bao, Browser, Tab, wait};
use serde_json::Value;

use super::page::{DETAILS, PAGE, use_names};
use super::{PATIENCE, config, get, ok, url};
use crate::harness::{self, Protocol, Server, Who};

/// The text of a place of the page.
fn text(tab: &Tab<'_>, place: &str) -> String {
    let value =
        tab.evaluate(&format!("document.querySelector('[data-t=\"{place}\"]').textContent"));
    value.as_str().unwrap_or_else(|| panic!("{place}: {value}")).to_owned()
}

/// A server that has started.
fn start(section: &str) -> Server {
    let server = Server::with(&config(section));
    wait::eventually(PATIENCE, "it has started", || get(&server, "/startup") == ok());
    server
}

/// What reaches beyond the window at the side.
fn too_wide(tab: &Tab<'_>) -> Value {
    tab.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => !e.closest('thead') \
         && e.getBoundingClientRect().right > innerWidth + 1) \
         .map(e => e.outerHTML.slice(0, 80)).concat( \
         document.documentElement.scrollWidth > innerWidth ? ['the document'] : [])",
    )
}

async fn ask(server: &Server, times: usize) {
    let mut minio = server.client(Who::Minio, Protocol::H1).await;
    for _ in 0..times {
        assert_eq!(minio.send("GET", "/v1/status", "").await.status, 200);
    }
}

#[test]
fn figures_change_without_a_reload_and_nothing_is_complained_of() {
    let server = start(DETAILS);
    use_names(&server);
    let browser = Browser::start();
    let tab = browser.open(1440, 1000, 1.0);
    tab.go(&url(&server));
    tab.evaluate("window.stays = true");
    wait::eventually(PATIENCE, "the stream has begun", || {
        tab.evaluate("document.documentElement.dataset.live") == "on"
    });
    let number = |place: &str| text(&tab, place).replace(',', "").parse::<u64>().unwrap();
    let before = number("answered");
    let line = "document.querySelector('svg[data-c=requests] .l0').getAttribute('d')";
    let drawn = tab.evaluate(line);
    harness::run(ask(&server, 40));
    wait::eventually(PATIENCE, "the figures change", || number("answered") >= before + 40);
    wait::eventually(PATIENCE, "the chart moves", || tab.evaluate(line) != drawn);
    assert_eq!(tab.evaluate("window.stays"), true, "without a reload");
    // A row that came later.
    assert!(text_of_table(&tab, "operations").contains("/v1/status"));
    assert!(
        text_of_table(&tab, "refusals").contains("policy.minio.allow: /v1/key/delete/hidden-key")
    );

    // The stream ends with the page, and begins anew with the next one.
    server.reload_and_wait(&config(PAGE));
    wait::eventually(PATIENCE, "the browser has come again", || {
        !text_of_table(&tab, "refusals").contains("hidden")
    });
    assert_eq!(tab.evaluate("window.stays"), true);
    assert_eq!(tab.complaints(), [""; 0]);
    let requests = tab.requests();
    let own = url(&server);
    assert!(
        requests.iter().all(|asked| asked.starts_with(&own) || asked.starts_with("data:")),
        "{requests:?}"
    );
}

fn text_of_table(tab: &Tab<'_>, name: &str) -> String {
    let value = tab.evaluate(&format!("document.querySelector('[data-r={name}]').textContent"));
    value.as_str().unwrap().to_owned()
}

#[test]
fn it_fits_a_phone_and_a_wall_with_scripts_and_without() {
    let server = start(DETAILS);
    use_names(&server);
    harness::run(ask(&server, 3));
    let browser = Browser::start();
    for with_scripts in [true, false] {
        let tab = browser.open(320, 640, 1.0);
        if !with_scripts {
            tab.disable_scripts();
        }
        tab.go(&url(&server));
        if with_scripts {
            wait::eventually(PATIENCE, "the stream has begun", || {
                tab.evaluate("document.documentElement.dataset.live") == "on"
            });
        }
        for width in [320, 375, 768, 1280, 1920, 3840] {
            tab.resize(width, 900, 1.0);
            assert_eq!(too_wide(&tab), Value::Array(Vec::new()), "{width}, {with_scripts}");
        }
        for scheme in ["light", "dark"] {
            tab.prefer("prefers-color-scheme", scheme);
            let ground = tab.evaluate("getComputedStyle(document.documentElement).backgroundColor");
            let is_light = ground == "rgb(243, 245, 248)";
            assert_eq!(is_light, scheme == "light", "{ground}");
        }
        // All figures are text.
        assert_eq!(text(&tab, "refused-total"), "3");
        assert!(text_of_table(&tab, "refusals").contains("hidden-key"));
        assert!(text_of_table(&tab, "operations").contains("/v1/key/create"));
        assert_eq!(tab.complaints(), [""; 0]);
    }
}

#[test]
fn what_moves_rests_for_who_wants_it_so() {
    let server = start(PAGE);
    let browser = Browser::start();
    let tab = browser.open(800, 600, 1.0);
    tab.go(&url(&server));
    wait::eventually(PATIENCE, "the stream has begun", || {
        tab.evaluate("document.documentElement.dataset.live") == "on"
    });
    let running = "document.getAnimations().length";
    assert_eq!(tab.evaluate(running), 1);
    tab.prefer("prefers-reduced-motion", "reduce");
    assert_eq!(tab.evaluate(running), 0);
    drop(server);
    wait::eventually(PATIENCE, "it tells that nothing new comes", || {
        tab.evaluate("document.documentElement.dataset.live") == "off"
    });
    assert!(
        tab.evaluate("document.getElementById('live').textContent")
            .as_str()
            .unwrap()
            .contains("no connection")
    );
}

/// The pictures of the documentation can be made: of a server with keys in OpenBao, as it looks after some
/// seconds of work, or with `KES_PICTURES` after five minutes; these are put into `docs/pictures`.
#[test]
fn the_pictures_of_the_documentation_can_be_made() {
    let is_recorded = std::env::var_os("KES_PICTURES").is_some();
    let work = Duration::from_secs(if is_recorded { 305 } else { 5 });
    let bao = Bao::start();
    let role = bao.root().set_up().kv("kv", 2).app_role();
    let keystore = format!(
        "{{ vault: {{ endpoint: '{}', version: v2, approle: {{ id: '{}', secret: '{}' }} }} }}",
        bao.url(),
        role.role_id,
        role.secret_id
    );
    let policy = "
  photos:
    allow: [/v1/key/create/photos-*, /v1/key/generate/photos-*, /v1/key/decrypt/photos-*, /v1/key/describe/*, /v1/status, /v1/key/list/*]
    deny: [/v1/key/decrypt/photos-raw-*]
    identities: [\"${MINIO}\"]";
    let server = Server::with(&config(DETAILS).with("policy", policy).with("keystore", &keystore));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| harness::run(work_of_a_gallery(&server, &is_over)));
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            std::thread::sleep(work);
            take_pictures(&url(&server), is_recorded);
        }));
        is_over.store(true, Ordering::Relaxed);
        made.unwrap();
    });
}

/// What a gallery of photos asks for, with busier and quieter times.
async fn work_of_a_gallery(server: &Server, is_over: &AtomicBool) {
    let mut random = fastrand::Rng::with_seed(7);
    let mut idle = Vec::new();
    let mut admin = server.client(Who::Admin, Protocol::H1).await;
    let mut minio = server.client(Who::Minio, Protocol::H1).await;
    for key in ["photos-2026", "photos-2027", "photos-raw-1"] {
        assert_eq!(admin.send("PUT", &format!("/v1/key/create/{key}"), "").await.status, 200);
    }
    let made = minio.send("PUT", "/v1/key/generate/photos-2026", "{}").await;
    let made: Value = serde_json::from_slice(&made.body).unwrap();
    let body = serde_json::json!({ "ciphertext": made["ciphertext"] }).to_string();
    let mut other = server.client(Who::Other, Protocol::H1).await;
    other.send("GET", "/v1/status", "").await;
    let begin = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let seconds = begin.elapsed().as_secs_f64();
        let wave = 14.0 + 6.0 * (seconds / 41.0).sin() + 3.0 * (seconds / 13.0).sin();
        for _ in (0..40_u32).take_while(|step| f64::from(*step) < wave) {
            let key = if random.u8(..) < 50 { "photos-2027" } else { "photos-2026" };
            let path = format!("/v1/key/generate/{key}");
            assert_eq!(minio.send("PUT", &path, "{}").await.status, 200);
            if random.u8(..) < 170 {
                let opened = minio.send("PUT", "/v1/key/decrypt/photos-2026", &body).await;
                assert_eq!(opened.status, 200);
            }
        }
        for (method, path, of_thousand) in [
            ("GET", "/v1/key/describe/photos-2026", 120),
            ("GET", "/v1/status", 120),
            ("GET", "/v1/key/list/photos-*", 12),
            ("PUT", "/v1/key/create/backup-2026", 9),
            ("PUT", "/v1/key/decrypt/photos-raw-1", 3),
            ("PUT", "/v1/key/create/photos-2026", 3),
        ] {
            if random.u32(..1000) < of_thousand {
                minio.send(method, path, if path.contains("raw") { &body } else { "" }).await;
            }
        }
        // Connections of its nodes come and go.
        match random.u32(..400) {
            0..8 if idle.len() < 24 => idle.push(server.client(Who::Minio, Protocol::H2).await),
            8..12 => drop(idle.pop()),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn take_pictures(url: &str, is_recorded: bool) {
    let browser = Browser::start();
    for (scheme, file) in [("light", "page.webp"), ("dark", "page-dark.webp")] {
        let tab = browser.open(1440, 1080, 1.0);
        tab.prefer("prefers-color-scheme", scheme);
        tab.go(url);
        wait::eventually(PATIENCE, "the stream has begun", || {
            tab.evaluate("document.documentElement.dataset.live") == "on"
        });
        let height = tab.evaluate("document.body.scrollHeight").as_u64().unwrap();
        tab.resize(1440, u32::try_from(height).unwrap(), 1.0);
        let picture = tab.picture();
        assert!(picture.len() < 150_000, "{} bytes", picture.len());
        if is_recorded {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(file), picture).unwrap();
        }
    }
}
