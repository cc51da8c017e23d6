use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::thread::{self, Thread};

use super::*;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match Pin::new(&mut future).poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn an_operation_can_be_awaited_or_waited_for() {
    let slow = || {
        thread::sleep(std::time::Duration::from_millis(20));
        Ok(7)
    };
    assert_eq!(Op::start("test", slow).wait().unwrap(), 7);
    assert_eq!(block_on(Op::start("test", slow)).unwrap(), 7);
}

#[test]
fn a_dropped_operation_still_finishes() {
    let finished = Arc::new(AtomicBool::new(false));
    let (gate, opened) = std::sync::mpsc::channel::<()>();
    let (done, ended) = std::sync::mpsc::channel();
    let flag = Arc::clone(&finished);
    drop(Op::start("test", move || {
        opened.recv().unwrap();
        flag.store(true, Ordering::SeqCst);
        done.send(()).unwrap();
        Ok(())
    }));
    gate.send(()).unwrap();
    ended.recv().unwrap();
    assert!(finished.load(Ordering::SeqCst));
}

#[test]
fn a_panic_inside_becomes_an_error() {
    let error = Op::<()>::start("test", || panic!("on purpose"))
        .wait()
        .unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Internal);
}
