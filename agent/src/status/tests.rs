//! The two listeners over real sockets: what each says, and that nobody can keep the others out.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::{net::TcpStream, sync::watch, time::sleep};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::engine::Serving::{Down, Standby, Writable};

struct Served {
    http: SocketAddr,
    agent_check: SocketAddr,
    now: watch::Sender<Option<Standing>>,
    asked: Arc<AtomicUsize>,
    shut: Arc<AtomicBool>,
    _serving: AbortOnDropHandle<()>,
}

/// `None` = the server cannot be asked.
async fn serve(standing: Option<Standing>) -> Served {
    let any = Some("127.0.0.1:0".parse().unwrap());
    let status = Status::bind(any, any).await.unwrap();
    let (http, agent_check) = (status.http_address().unwrap(), status.agent_check_address().unwrap());
    let (now, asked) = (watch::Sender::new(standing), Arc::new(AtomicUsize::new(0)));
    let (seen, count, shut) = (now.subscribe(), Arc::clone(&asked), Arc::new(AtomicBool::default()));
    let told = Arc::clone(&shut);
    let serving = tokio::spawn(async move {
        let ask = move || {
            count.fetch_add(1, SeqCst);
            std::future::ready(seen.borrow().ok_or_else(|| Failure::refused("SECRET", "password=hunter2", "")))
        };
        status.serve(ask, move || told.load(SeqCst)).await.unwrap();
    });
    Served { http, agent_check, now, asked, shut, _serving: AbortOnDropHandle::new(serving) }
}

async fn talk(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn each_page_tells_its_own_truth() {
    let served = serve(None).await;
    for (standing, primary, replica, check) in [
        (Some((Writable, false)), "200 ok", "503 primary", "up\n"),
        (Some((Writable, true)), "503 fenced", "503 primary", "down #fenced\n"),
        (Some((Standby, false)), "503 standby", "200 ok", "down #standby\n"),
        (Some((Standby, true)), "503 standby", "503 fenced", "down #standby\n"),
        (Some((Down, false)), "503 down", "503 down", "down #down\n"),
        (None, "503 unknown", "503 unknown", "down #unknown\n"),
    ] {
        served.now.send_replace(standing.map(|(serving, fenced)| Standing { serving, fenced, follows: true }));
        sleep(FRESH * 2).await;
        for (page, expected) in [("/primary", primary), ("/replica", replica), ("/health", "200 ok")] {
            let (code, reason) = expected.split_once(' ').unwrap();
            for method in ["GET", "OPTIONS", "HEAD"] {
                let answer = talk(served.http, &format!("{method} {page} HTTP/1.0\r\n\r\n")).await;
                assert!(answer.starts_with(&format!("HTTP/1.0 {code} ")), "{standing:?} {method} {page}: {answer}");
                let body = if method == "HEAD" { String::new() } else { format!("{reason}\n") };
                assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{standing:?} {method} {page}: {answer}");
            }
        }
        assert_eq!(talk(served.agent_check, "").await, check);
    }
    assert!(talk(served.http, "POST /primary HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 405 "));
    assert!(talk(served.http, "GET / HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 404 "));
}

#[tokio::test]
async fn a_fence_is_told_at_once_and_a_standby_that_stands_still_is_none() {
    let standing = |serving, follows| Some(Standing { serving, fenced: false, follows });
    let served = serve(standing(Writable, false)).await;
    let page = async |path: &str| talk(served.http, &format!("GET {path} HTTP/1.0\r\n\r\n")).await;
    assert!(page("/primary").await.contains(" 200 "));
    let asked = served.asked.load(SeqCst);
    served.shut.store(true, SeqCst);
    let answer = page("/primary").await;
    let checked = talk(served.agent_check, "").await;
    assert!(answer.contains("fenced") && checked == "down #fenced\n", "{answer} {checked}");
    // However fast this machine is today.
    assert!(served.asked.load(SeqCst) <= asked + 2);
    served.shut.store(false, SeqCst);
    served.now.send_replace(standing(Standby, false));
    sleep(FRESH * 2).await;
    assert!(page("/replica").await.contains("follows nobody"));
}

#[tokio::test]
async fn many_askers_are_one_question() {
    let served = serve(None).await;
    for _ in 0..200 {
        talk(served.http, "GET /primary HTTP/1.0\r\n\r\n").await;
        talk(served.agent_check, "").await;
    }
    assert!(served.asked.load(SeqCst) < 100, "{} questions", served.asked.load(SeqCst));
}

#[tokio::test]
async fn a_long_request_is_cut() {
    let served = serve(None).await;
    let mut stream = TcpStream::connect(served.http).await.unwrap();
    let endless = format!("GET /primary HTTP/1.1\r\nX: {}", "x".repeat(64 << 10));
    let _ = stream.write_all(endless.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(3), stream.read_to_end(&mut answer)).await.expect("closed before its time is over");
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn silent_connections_do_not_keep_others_out() {
    let served = serve(Some(Standing { serving: Writable, fenced: false, follows: false })).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(served.http).await.unwrap());
    }
    let answer = timeout(Duration::from_secs(30), talk(served.http, "GET /primary HTTP/1.0\r\n\r\n")).await;
    assert!(answer.expect("their time ends").starts_with("HTTP/1.0 200 "));
}
