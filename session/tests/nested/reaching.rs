//! Files, streams and terminals of a real guest.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use session::{
    Copied, ErrorKind, ExitStatus, Forward, GuestAddress, HostAddress, Session, TerminalSize,
};

use super::bed::{Bed, noise, sh};

/// Large enough that the start of a copy is no part of its speed.
const LARGE: usize = 24 << 20;

/// What a copy has to reach, in bytes a second by the clock. An emulated machine that shares its host with others has a
/// fraction of a processor of a hundredth of the usual speed, so this finds copies that wait for something, no slow
/// ones: those show in what is printed.
const NEVER_SLOWER: f64 = 0.1e6;

/// One guest for all of it: a boot costs more than what is tested.
#[test]
fn files_streams_and_terminals_reach_into_a_guest_of_busybox() {
    let bed = Bed::busybox();
    let session = bed.start("reaching");
    let host = bed.folder.path().join("files");
    fs::create_dir(&host).unwrap();
    trees_come_and_go(&session, &host);
    large_files_stream(&session, &host);
    a_copy_that_fails_says_where(&session, &host);
    streams_go_both_ways(&session);
    forwards_go_both_ways(&session, &host);
    terminals_are_terminals(&session);
    let (forward, address) = echo_forward(&session);
    bed.shut_down(&session);
    // The forward is still held, and the guest is gone.
    assert!(TcpStream::connect(address).is_err());
    drop(forward);
    assert!(session.connect(GuestAddress::Tcp(7000)).wait().is_err());
}

fn trees_come_and_go(session: &Session, host: &Path) {
    let tree = host.join("tree");
    fs::create_dir_all(tree.join("empty")).unwrap();
    fs::write(tree.join("script"), "#!/bin/sh\necho ran\n").unwrap();
    fs::set_permissions(tree.join("script"), PermissionsExt::from_mode(0o750)).unwrap();
    fs::write(tree.join("data"), noise(1_000_000)).unwrap();
    fs::hard_link(tree.join("data"), tree.join("again")).unwrap();
    symlink("../tree/data", tree.join("link")).unwrap();
    for number in 0..200 {
        fs::write(tree.join(format!("small-{number}")), number.to_string()).unwrap();
    }
    let copy = session.copy_in(&tree, "/srv/new/tree").owner("12:34");
    let sent = copy.start().wait().unwrap();
    assert_eq!((sent.files, sent.directories, sent.symlinks), (203, 2, 1));
    let facts = "cd /srv/new/tree && ./script && stat -c '%u:%g %a %h' script data && readlink link \
                 && ls | wc -l && cat small-7";
    assert_eq!(
        sh(session, facts),
        "ran\n12:34 750 1\n12:34 644 2\n../tree/data\n205\n7"
    );
    sh(
        session,
        "mknod /srv/new/tree/null c 1 3; chmod 4755 /srv/new/tree/script",
    );
    let back = host.join("back");
    let got = session
        .copy_out("/srv/new/tree", &back)
        .start()
        .wait()
        .unwrap();
    assert_eq!(got, Copied { skipped: 1, ..sent });
    assert_eq!(fs::read(back.join("data")).unwrap(), noise(1_000_000));
    assert_eq!(
        fs::metadata(back.join("data")).unwrap().ino(),
        fs::metadata(back.join("again")).unwrap().ino()
    );
    let script = fs::metadata(back.join("script")).unwrap();
    assert_eq!(script.mode() & 0o7777, 0o755);
    assert_eq!(script.uid(), fs::metadata(host).unwrap().uid());
    // The raw streams, from one place of the guest to another.
    let mut stream = session.pack("/srv/new/tree").wait().unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(stream.copied().map(|copied| copied.files), Some(203));
    let unpacked = session.unpack("/srv/second", std::io::Cursor::new(bytes));
    assert_eq!(unpacked.start().wait().unwrap().files, 203);
    let same = "cd /srv/second/tree && stat -c '%u:%g %a' script && cmp data /srv/new/tree/data";
    assert_eq!(sh(session, same), "12:34 4755\n");
    // A whole file system, without those that the kernel has made up.
    let root = host.join("root");
    session.copy_out("/", &root).start().wait().unwrap();
    assert!(root.join("bin/busybox").is_file() && root.join("srv/new/tree/data").is_file());
    assert_eq!(fs::read_dir(root.join("proc")).unwrap().count(), 0);
}

fn large_files_stream(session: &Session, host: &Path) {
    let large = host.join("large");
    fs::write(&large, noise(LARGE)).unwrap();
    let begun = Instant::now();
    let sent = session.copy_in(&large, "/large").start().wait().unwrap();
    let into = begun.elapsed();
    assert_eq!(sent.bytes, LARGE as u64);
    let begun = Instant::now();
    let back = host.join("large.back");
    session.copy_out("/large", &back).start().wait().unwrap();
    let out = begun.elapsed();
    assert!(fs::read(&back).unwrap() == fs::read(&large).unwrap());
    let speed = |took: Duration| LARGE as f64 / took.as_secs_f64();
    println!(
        "copies: {:.1} MB/s into the guest, {:.1} MB/s out of it",
        speed(into) / 1e6,
        speed(out) / 1e6
    );
    assert!(speed(into) >= NEVER_SLOWER && speed(out) >= NEVER_SLOWER);
    sh(session, "rm /large");
}

fn a_copy_that_fails_says_where(session: &Session, host: &Path) {
    let missing = session.copy_out("/no/such", host.join("x")).start().wait();
    let missing = missing.unwrap_err();
    assert!(
        missing.is_not_found() && missing.to_string().contains("/no/such"),
        "{missing}"
    );
    let missing = session.copy_in(host.join("no-such"), "/x").start().wait();
    assert!(missing.unwrap_err().kind() == ErrorKind::Copy);
    sh(
        session,
        "mkdir -p /ro /full; mount -t tmpfs -o size=1m none /full",
    );
    let large = session.copy_in(host.join("large"), "/full/large").start();
    let begun = Instant::now();
    let error = large.wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Copy);
    assert!(error.to_string().contains("large"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    sh(session, "test ! -e /full/large; umount /full");
    let relative = session.copy_in(host, "srv/x").start().wait().unwrap_err();
    assert_eq!(relative.kind(), ErrorKind::InvalidInput);
    let nobody = session
        .copy_in(host.join("tree"), "/x")
        .owner("nobody-there");
    assert!(
        nobody
            .start()
            .wait()
            .unwrap_err()
            .to_string()
            .contains("nobody-there")
    );
    // A user of the guest leads nobody anywhere, and the links of a usual root are followed.
    sh(
        session,
        "mkdir /shared /etc/site && ln -s ../etc/site /shared/own && ln -s ../etc/site /shared/tree && chown -h 1000 /shared/tree",
    );
    let led = session.copy_in(host.join("tree"), "/shared/tree").start();
    let error = led.wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Copy, "{error}");
    assert!(error.to_string().contains("another user's"), "{error}");
    sh(session, "test -z \"$(ls /etc/site)\"");
    let data = host.join("tree/data");
    let own = session.copy_in(data, "/shared/own/data").start().wait();
    assert_eq!(own.unwrap().files, 1);
    sh(session, "test -s /etc/site/data && rm -r /shared /etc/site");
    let few = session
        .copy_out("/srv/new/tree", host.join("few"))
        .max_entries(10);
    let error = few.start().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Copy, "{error}");
}

fn start_echo(session: &Session) {
    // Each connection has a program of its own, which ends with it.
    let serve = "nc -ll -p 7000 -e cat </dev/null >/dev/null 2>&1 &";
    sh(session, serve);
    let ready =
        "for i in $(seq 50); do nc 127.0.0.1 7000 </dev/null && exit 0; sleep 0.1; done; exit 1";
    sh(session, ready);
}

fn echo(mut to: impl Write + Send + 'static, mut from: impl Read, end: impl FnOnce()) {
    let bytes = noise(3_000_000);
    let sent = bytes.clone();
    let writer = thread::spawn(move || {
        to.write_all(&sent).unwrap();
        to
    });
    let mut back = vec![0; bytes.len()];
    from.read_exact(&mut back).unwrap();
    assert!(back == bytes);
    drop(writer.join().unwrap());
    end();
    assert_eq!(from.read(&mut back).unwrap(), 0);
}

fn streams_go_both_ways(session: &Session) {
    start_echo(session);
    let stream = session.connect(GuestAddress::Tcp(7000)).wait().unwrap();
    let (to, end) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
    echo(to, stream, || end.shutdown_write().unwrap());
    let refused = session.connect(GuestAddress::Tcp(7001)).wait().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused, "{refused}");
    let missing = GuestAddress::Unix("/no/socket".into());
    let refused = session.connect(missing).wait().unwrap_err();
    assert!(refused.to_string().contains("/no/socket"), "{refused}");
    let impossible = GuestAddress::Unix("relative".into());
    let refused = session.connect(impossible).wait().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
}

fn echo_forward(session: &Session) -> (Forward, SocketAddr) {
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let forward = session
        .forward(any, GuestAddress::Tcp(7000))
        .wait()
        .unwrap();
    let Some(HostAddress::Tcp(address)) = forward.address() else {
        panic!("{forward:?}")
    };
    let address = *address;
    assert_ne!(address.port(), 0);
    (forward, address)
}

fn forwards_go_both_ways(session: &Session, host: &Path) {
    let (forward, address) = echo_forward(session);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                let client = TcpStream::connect(address).unwrap();
                let end = client.try_clone().unwrap();
                echo(client.try_clone().unwrap(), client, || {
                    end.shutdown(Shutdown::Write).unwrap();
                });
            })
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    let mut idle = TcpStream::connect(address).unwrap();
    idle.write_all(b"x").unwrap();
    idle.read_exact(&mut [0]).unwrap();
    drop(forward);
    assert_eq!(idle.read(&mut [0]).unwrap_or(0), 0);
    assert!(TcpStream::connect(address).is_err());

    let path = host.join("echo.sock");
    let at_path = HostAddress::Unix(path.clone());
    let forward = session
        .forward(at_path, GuestAddress::Tcp(7000))
        .wait()
        .unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let client = UnixStream::connect(&path).unwrap();
    let end = client.try_clone().unwrap();
    echo(client.try_clone().unwrap(), client, || {
        end.shutdown(Shutdown::Write).unwrap()
    });
    drop(forward);
    assert!(!path.exists());

    // The other way: the guest's program connects to one of ours.
    let ours = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = ours.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut client, _) = ours.accept().unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        client.write_all(format!("got {text}").as_bytes()).unwrap();
    });
    let forward = session
        .forward_to_host(GuestAddress::Tcp(0), address)
        .wait()
        .unwrap();
    let Some(GuestAddress::TcpAt(guest)) = forward.guest_address() else {
        panic!("{forward:?}")
    };
    let port = guest.port();
    assert_eq!(
        sh(session, &format!("echo hello | nc 127.0.0.1 {port}")),
        "got hello\n"
    );
    server.join().unwrap();
    drop(forward);
    sh(session, &format!("! nc 127.0.0.1 {port} </dev/null"));
}

fn terminals_are_terminals(session: &Session) {
    let size = |rows, columns| TerminalSize { rows, columns };
    let shell = |script: &str| {
        session
            .command("sh")
            .args(["-c", script])
            .terminal(size(33, 111))
    };
    let output =
        shell("test -t 0 && test -t 1 && test -t 2; echo $? $TERM; stty size; echo err >&2")
            .output()
            .wait()
            .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "0 xterm\r\n33 111\r\nerr\r\n"
    );
    assert_eq!(
        (output.status, output.stderr.len()),
        (ExitStatus::Code(0), 0)
    );
    // Without input it reads the end of it; with some, that first.
    let output = shell("cat").output().wait().unwrap();
    assert!(output.status.success());
    let output = shell("read x; echo got $x; cat")
        .stdin("line\n")
        .output()
        .wait()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&output.stdout).ends_with("got line\r\n"),
        "{output:?}"
    );
    // A change of size reaches the program, and Ctrl-C its group.
    let script = "trap 'stty size; trap - INT' WINCH; echo ready; while :; do sleep 0.1; done";
    let mut process = shell(script).stdin_piped().spawn().wait().unwrap();
    let mut stdout = process.take_stdout().unwrap();
    let mut line = |expected: &str| {
        let mut read = vec![0; expected.len()];
        stdout.read_exact(&mut read).unwrap();
        assert_eq!(String::from_utf8_lossy(&read), expected);
    };
    line("ready\r\n");
    process.control().resize(size(50, 20)).unwrap();
    line("50 20\r\n");
    let mut stdin = process.take_stdin().unwrap();
    stdin.write_all(&[3]).unwrap();
    let status = process.wait().wait().unwrap();
    assert_eq!(status, ExitStatus::Signal(2), "{status}");
    let none = session.command("true").terminal(size(0, 1)).status().wait();
    assert_eq!(none.unwrap_err().kind(), ErrorKind::InvalidInput);
}
