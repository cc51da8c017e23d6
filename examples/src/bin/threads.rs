//! Several sessions at once, each on a plain thread of its own: `threads [STORE] [IMAGE] [COUNT]`.
//!
//! Boots the kernel in STORE/kernel (an unpacked kernel package), or the host's own if there is none.

use std::thread;

use session::{Error, Session, Store};

/// Sessions, unless it is said otherwise.
const COUNT: u32 = 3;

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap_or_else(|| "playgrounds".to_owned());
    let image = args.next().unwrap_or_else(|| "oci:image".to_owned());
    let count = args.next().and_then(|count| count.parse().ok());

    let store = Store::open(dir)?;
    // Once for all of them; the sessions share what they don't change.
    let snapshot = store.import(image).start().wait()?.snapshot;
    let (store, snapshot) = (&store, &snapshot);
    let reports: Vec<Result<String, Error>> = thread::scope(|scope| {
        let numbers = 1..=count.unwrap_or(COUNT);
        let threads: Vec<_> = numbers
            .map(|number| {
                scope.spawn(move || greet(Session::from_snapshot(store, *snapshot), number))
            })
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| match thread.join() {
            Ok(report) => report,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().map(join).collect()
    });
    for report in reports {
        println!("{}", report?);
    }
    Ok(())
}

/// The whole life of one session.
fn greet(session: session::SessionBuilder, number: u32) -> Result<String, Error> {
    let hostname = format!("lab-{number}");
    let session = session.hostname(&hostname).memory_mib(256).start().wait()?;
    let hello = session
        .command("sh")
        .args(["-c", "echo hello from $(hostname)"]);
    let output = hello.output().wait()?;
    session.terminate().wait()?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned())
}
