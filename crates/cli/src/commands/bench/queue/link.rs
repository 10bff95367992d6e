//! A way to the server with some latency: what goes in at a port of this machine comes out at the server's socket
//! a while later, in each direction.
//!
//! Threads and not tasks, because a timer of the runtime counts in whole milliseconds, which is what is added here.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Accepts connections until the process ends, and returns the port.
pub(super) fn open(socket: &Path, latency: Duration) -> std::io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let socket: PathBuf = socket.to_owned();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // Whoever is not let through sees a closed connection, and says so.
            let _ = pass(client, &socket, latency);
        }
    });
    Ok(port)
}

fn pass(client: TcpStream, socket: &Path, latency: Duration) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let server = UnixStream::connect(socket)?;
    let (client_out, server_out) = (client.try_clone()?, server.try_clone()?);
    let (client_end, server_end) = (client.try_clone()?, server.try_clone()?);
    later(client, server_out, latency, move || drop(server_end.shutdown(Shutdown::Write)));
    later(server, client_out, latency, move || drop(client_end.shutdown(Shutdown::Both)));
    Ok(())
}

/// Carries what is read to the writer, each piece at its time, and closes behind the last.
fn later(
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    latency: Duration,
    close: impl FnOnce() + Send + 'static,
) {
    let (sender, pieces) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length) = from.read(&mut buffer) {
            let piece = buffer.get(..length).unwrap_or_default().to_vec();
            if length == 0 || sender.send((Instant::now() + latency, piece)).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        while let Ok((due, piece)) = pieces.recv() {
            #[expect(clippy::disallowed_methods, reason = "a thread of its own, which does nothing else")]
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        close();
    });
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn an_answer_comes_two_latencies_later_and_an_end_is_passed_on() {
        let path = std::env::temp_dir().join(format!("greenroom-link-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let server = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            let (mut there, _) = server.accept().unwrap();
            let mut asked = [0; 4];
            there.read_exact(&mut asked).unwrap();
            there.write_all(&asked).unwrap();
        });
        let port = open(&path, Duration::from_millis(20)).unwrap();
        let mut here = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let begun = Instant::now();
        here.write_all(b"ping").unwrap();
        let mut answer = Vec::new();
        here.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"ping");
        assert!(begun.elapsed() >= Duration::from_millis(40), "{:?}", begun.elapsed());
        std::fs::remove_file(&path).unwrap();
    }
}
