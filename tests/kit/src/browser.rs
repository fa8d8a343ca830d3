use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::package::Package;
use crate::process::Process;

const PACKAGE: Package = Package {
    name: "chromium-headless-shell",
    program: None,
    folder: "usr/lib/chromium",
    with: &["chromium-common"], // its data
    env: "CHROMIUM_BIN",
};

/// How long an answer may take: milliseconds, or far more on a machine that is busy with a build.
const LIMIT: Duration = Duration::from_secs(60);

/// Has the browser read its commands from the test, and write its answers to it: it uses the files 3 and
/// 4 for that.
const PIPES: &str = "exec 3<&0 4>&1 </dev/null >&2; exec \"$@\"";

/// What keeps it small, and away from the network and from the machine's settings.
const FLAGS: [&str; 11] = [
    "--remote-debugging-pipe",
    "--no-sandbox", // the tests may be root's, and look at pages of their own alone
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--renderer-process-limit=1",
    "--js-flags=--max-old-space-size=128",
    "--no-proxy-server",
    "--hide-scrollbars",
];

/// A real Chromium without a window. It goes with its owner.
pub struct Browser {
    commands: RefCell<ChildStdin>,
    answers: Receiver<Value>,
    /// What came beside answers.
    events: RefCell<Vec<Value>>,
    next: Cell<u64>,
    process: RefCell<Process>,
    folder: TempDir,
}

/// A page of it.
pub struct Tab<'a> {
    browser: &'a Browser,
    session: String,
}

impl Browser {
    /// Starts one.
    ///
    /// # Panics
    /// If it is not on this machine and cannot be fetched, or does not start.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let log = File::create(folder.path().join("log")).expect("the log can be made");
        let program = PACKAGE.program().command();
        let mut command = Process::command(Path::new("/bin/sh"));
        command.args(["-c", PIPES, "sh"]).arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut process = Process::start(command);
        let commands = process.take_stdin().expect("it is a pipe");
        let mut output = BufReader::new(process.take_stdout().expect("it is a pipe"));
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            // Each message ends with a zero byte.
            while output.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { return };
                if sender.send(value).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let browser = Self {
            commands: RefCell::new(commands),
            answers,
            events: RefCell::default(),
            next: Cell::new(1),
            process: RefCell::new(process),
            folder,
        };
        browser.call(None, "Browser.getVersion", &json!({}));
        browser
    }

    /// Opens a page of this size in CSS pixels, with this many pixels of the screen for each.
    ///
    /// # Panics
    /// If the browser does not do it.
    pub fn open(&self, width: u32, height: u32, scale: f64) -> Tab<'_> {
        let made = self.call(None, "Target.createTarget", &json!({ "url": "about:blank" }));
        let target = json!({ "targetId": made["targetId"], "flatten": true });
        let attached = self.call(None, "Target.attachToTarget", &target);
        let session = attached["sessionId"].as_str().expect("a session has an ID").to_owned();
        let tab = Tab { browser: self, session };
        for domain in ["Page", "Runtime", "Log", "Network", "Audits"] {
            tab.call(&format!("{domain}.enable"), &json!({}));
        }
        tab.resize(width, height, scale);
        tab
    }

    /// Sends a command, and waits for its answer.
    fn call(&self, session: Option<&str>, method: &str, params: &Value) -> Value {
        let id = self.next.replace(self.next.get() + 1);
        let mut command = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            command["sessionId"] = session.into();
        }
        let mut text = command.to_string().into_bytes();
        text.push(0);
        if self.commands.borrow_mut().write_all(&text).is_err() {
            panic!("Chromium has ended: {}", self.log());
        }
        let begin = Instant::now();
        loop {
            let left = LIMIT.saturating_sub(begin.elapsed());
            match self.answers.recv_timeout(left) {
                Ok(answer) if answer["id"] == id => {
                    assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                    return answer["result"].clone();
                }
                Ok(event) => self.events.borrow_mut().push(event),
                Err(RecvTimeoutError::Timeout) => panic!("Chromium does not answer {method}"),
                Err(RecvTimeoutError::Disconnected) => panic!("Chromium ends: {}", self.log()),
            }
        }
    }

    fn log(&self) -> String {
        self.process.borrow_mut().kill();
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Tab<'_> {
    fn call(&self, method: &str, params: &Value) -> Value {
        self.browser.call(Some(&self.session), method, params)
    }

    /// Makes the page another size.
    ///
    /// # Panics
    /// If the browser does not do it.
    pub fn resize(&self, width: u32, height: u32, scale: f64) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": scale, "mobile": false,
        });
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Sets a media feature, such as `prefers-color-scheme` to `dark`.
    ///
    /// # Panics
    /// If the browser does not do it.
    pub fn prefer(&self, feature: &str, value: &str) {
        let features = json!({ "features": [{ "name": feature, "value": value }] });
        self.call("Emulation.setEmulatedMedia", &features);
    }

    /// Runs no scripts of pages from now on.
    ///
    /// # Panics
    /// If the browser does not do it.
    pub fn disable_scripts(&self) {
        self.call("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    }

    /// Goes to a URL, and waits until the document is there.
    ///
    /// # Panics
    /// If it cannot be loaded.
    pub fn go(&self, url: &str) {
        let went = self.call("Page.navigate", &json!({ "url": url }));
        assert!(went["errorText"].is_null(), "{url}: {}", went["errorText"]);
        crate::wait::eventually(LIMIT, "the document is there", || {
            self.evaluate("document.readyState") == "complete"
        });
    }

    /// The value of an expression in the page.
    ///
    /// # Panics
    /// If it throws.
    pub fn evaluate(&self, expression: &str) -> Value {
        let params = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
        });
        let answer = self.call("Runtime.evaluate", &params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// A picture of the page in WebP.
    ///
    /// # Panics
    /// If the browser makes none.
    pub fn picture(&self) -> Vec<u8> {
        let format = json!({ "format": "webp", "quality": 88 });
        let answer = self.call("Page.captureScreenshot", &format);
        let text = answer["data"].as_str().expect("a picture is a text");
        base64_simd::STANDARD.decode_to_vec(text).expect("a picture is base64")
    }

    /// What the browser complained of so far: messages of the console, exceptions, refused content.
    pub fn complaints(&self) -> Vec<String> {
        let events = self.browser.events.borrow();
        let of_page = events.iter().filter(|event| event["sessionId"] == self.session);
        let complaints = of_page.filter(|event| {
            matches!(
                event["method"].as_str().unwrap_or_default(),
                "Runtime.consoleAPICalled"
                    | "Runtime.exceptionThrown"
                    | "Log.entryAdded"
                    | "Audits.issueAdded"
            )
        });
        complaints.map(|event| event["params"].to_string()).collect()
    }

    /// The URLs that the page has asked for so far.
    pub fn requests(&self) -> Vec<String> {
        let events = self.browser.events.borrow();
        let of_page = events.iter().filter(|event| event["sessionId"] == self.session);
        let sent = of_page.filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| Some(event["params"]["request"]["url"].as_str()?.to_owned()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_scripts_and_tells_what_a_policy_refuses() {
        let browser = Browser::start();
        let tab = browser.open(320, 200, 1.0);
        tab.go("data:text/html,<!doctype html><title>one</title><script>document.title += '!'</script>");
        assert_eq!(tab.evaluate("document.title + innerWidth"), "one!320");
        assert_eq!(tab.complaints(), [""; 0]);
        let policy = "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\">";
        tab.go(&format!(
            "data:text/html,<!doctype html>{policy}<script>document.title = 'x'</script>"
        ));
        assert_eq!(tab.evaluate("document.title"), "");
        assert!(tab.complaints().iter().any(|text| text.contains("Content Security Policy")));
        tab.disable_scripts();
        tab.go("data:text/html,<!doctype html><title>two</title><script>document.title += '!'</script>");
        assert_eq!(tab.evaluate("document.title"), "two");
        assert_eq!(&tab.picture()[..4], b"RIFF");
    }
}
