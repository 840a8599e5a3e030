//! `meshctl ui`: the page over HTTP, who gets it, and that it renews itself.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::process::{Child, Stdio};

use crate::chromium::Chromium;
use crate::mesh::{break_link, mesh};
use crate::meshctl;

/// A running `meshctl ui` in front of a daemon that tells of a broken link from the third question on.
struct Ui {
    child: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Drop for Ui {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ui {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("meshd.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let mut topology = mesh(3, 2);
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                for _ in lines.take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())) {
                }
                if number == 2 {
                    break_link(&mut topology, "ams-01", "ber-01");
                }
                let body = serde_json::to_string(&topology).unwrap();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all((head + &body).as_bytes());
            }
        });
        let mut child = meshctl()
            .arg("--socket")
            .arg(&socket)
            .arg("ui")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        Self {
            child,
            url: url.trim().to_owned(),
            _dir: dir,
        }
    }

    /// Address and path of the page.
    fn parts(&self) -> (&str, &str) {
        let rest = self.url.strip_prefix("http://").unwrap();
        rest.split_at(rest.find('/').unwrap())
    }

    fn ask(&self, method: &str, target: &str, host: &str) -> String {
        let mut stream = TcpStream::connect(self.parts().0).unwrap();
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[test]
fn only_who_knows_the_address_gets_the_page() {
    let ui = Ui::start();
    let (address, path) = ui.parts();
    assert!(
        address.starts_with("127.0.0.1:") && path.len() == 34,
        "{}",
        ui.url
    );
    let port = address.rsplit(':').next().unwrap();
    for (method, target, host, status) in [
        ("GET", path, address, "200"),
        ("GET", path, &*format!("localhost:{port}"), "200"),
        ("GET", &*format!("{path}content"), address, "200"),
        // A site whose name was made to resolve to 127.0.0.1.
        ("GET", path, &*format!("evil.example:{port}"), "403"),
        ("GET", path, "127.0.0.1", "403"),
        ("GET", "/", address, "404"),
        ("GET", "/00000000000000000000000000000000/", address, "404"),
        ("GET", &*format!("{path}../status"), address, "404"),
        ("POST", path, address, "405"),
    ] {
        let answer = ui.ask(method, target, host);
        assert_eq!(&answer[9..12], status, "{method} {target} {host}");
        assert!(status == "200" || !answer.contains("ams-01"), "{answer}");
    }
}

#[test]
fn a_live_page_shows_what_breaks_while_it_is_open() {
    let Some(browser) = Chromium::find() else {
        return;
    };
    let ui = Ui::start();
    // The first question is that of the start, the second that of the page, the third that of its renewal.
    let document = browser.document(&ui.url);
    assert!(
        document.contains("1 broken link among 12 tunnels"),
        "{document}"
    );
    assert!(document.contains("data-b=\"ber-01\""), "{document}");
}
