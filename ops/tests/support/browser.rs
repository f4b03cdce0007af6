//! Debian's Chromium without a window, driven as a person would.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::http::Method;
use fantoccini::elements::Element;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

const APPEARS_WITHIN: Duration = Duration::from_secs(20);

/// A browser with one window.
pub struct Browser {
    pub client: Client,
    driver: Child,
    _profile: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser, too, which the driver's end does not end.
        if let Ok(group) = i32::try_from(self.driver.id()) {
            let _ = Pid::from_raw(group).map(|group| kill_process_group(group, Signal::KILL));
        }
        let _ = self.driver.wait();
    }
}

/// What the browser noted: the driver's own command, not WebDriver's.
#[derive(Debug)]
struct Log(&'static str);

impl WebDriverCompatibleCommand for Log {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({ "type": self.0 }).to_string()))
    }
}

impl Browser {
    /// Starts one. `lang` is what it asks pages for.
    pub async fn start(lang: &str) -> Self {
        let mut driver = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "chromedriver", "--port=0"])
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(driver.stdout.take().unwrap());
        // "ChromeDriver was started successfully on port 41234."
        let ports = out.lines().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let port = ports.expect("chromedriver says its port");
        let profile = tempfile::tempdir().unwrap();
        let folder = format!("--user-data-dir={}", profile.path().display());
        let (lang, accept) = (format!("--lang={lang}"), format!("--accept-lang={lang}"));
        let arguments = json!([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1280,900",
            lang,
            accept,
            folder,
        ]);
        let mut wanted = serde_json::Map::new();
        wanted.insert("browserName".into(), "chrome".into());
        wanted.insert("goog:chromeOptions".into(), json!({ "args": arguments }));
        wanted
            .insert("goog:loggingPrefs".into(), json!({ "browser": "ALL", "performance": "ALL" }));
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(wanted)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a window");
        Self { client, driver, _profile: profile }
    }

    pub async fn go(&self, address: &str) {
        self.client.goto(address).await.unwrap();
    }

    pub async fn find(&self, css: &str) -> Element {
        let wait = self.client.wait().at_most(APPEARS_WITHIN);
        wait.for_element(Locator::Css(css)).await.unwrap_or_else(|e| panic!("{css}: {e}"))
    }

    pub async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await.unwrap()
    }

    pub async fn type_in(&self, css: &str, text: &str) {
        self.find(css).await.send_keys(text).await.unwrap();
    }

    pub async fn click(&self, css: &str) {
        self.find(css).await.click().await.unwrap();
    }

    pub async fn script(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Waits until a script answers `true`.
    pub async fn until(&self, what: &str, script: &str) {
        let began = std::time::Instant::now();
        while self.script(script).await != Value::Bool(true) {
            assert!(began.elapsed() < APPEARS_WITHIN, "{what}: not within {APPEARS_WITHIN:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What stands in the way of people on this page, by axe-core's rules.
    pub async fn barriers(&self) -> Vec<String> {
        let axe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/axe/axe.min.js");
        let axe = std::fs::read_to_string(&axe).expect("ops/install.sh --tests fetches axe-core");
        self.client.execute(&axe, Vec::new()).await.unwrap();
        let judge = "const done = arguments[arguments.length - 1]; \
            axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations.map(v => \
            v.id + ': ' + v.help + ' ' + v.nodes.map(n => n.html.slice(0, 200)).join(' | '))))";
        let found = self.client.execute_async(judge, Vec::new()).await.unwrap();
        serde_json::from_value(found).unwrap()
    }

    /// Errors of pages since the last call.
    pub async fn errors(&self) -> Vec<String> {
        let log = self.client.issue_cmd(Log("browser")).await.unwrap();
        let lines = log.as_array().cloned().unwrap_or_default();
        let told = |line: &Value| line["message"].as_str().unwrap_or_default().to_owned();
        lines.iter().filter(|line| line["level"] == "SEVERE").map(told).collect()
    }

    /// What was asked of the network since the last call.
    pub async fn requests(&self) -> Vec<String> {
        let log = self.client.issue_cmd(Log("performance")).await.unwrap();
        let asked = |line: &Value| {
            let told: Value = serde_json::from_str(line["message"].as_str()?).ok()?;
            let told = &told["message"];
            let is_request = told["method"] == "Network.requestWillBeSent";
            is_request.then(|| told["params"]["request"]["url"].as_str().map(str::to_owned))?
        };
        log.as_array().into_iter().flatten().filter_map(asked).collect()
    }

    /// A picture of the whole page.
    pub async fn picture(&self) -> Vec<u8> {
        self.client.screenshot().await.unwrap()
    }
}
