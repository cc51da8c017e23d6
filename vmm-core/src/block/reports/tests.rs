use std::sync::Mutex;

use super::*;

#[test]
fn the_first_error_is_told_at_once_and_a_flood_of_them_once_a_second_with_its_size() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    let events = Events::new(Some(Box::new(move |event| {
        let Event::IoError {
            drive,
            operation,
            error,
            unreported,
        } = event
        else {
            panic!("{event:?}");
        };
        let text = format!("{drive} {operation:?} {error} {unreported}");
        listener.lock().unwrap().push(text);
    })));
    let mut reports = ErrorReports::new(2, events);
    let begin = Instant::now();
    for at_ms in [0, 0, 1, 999, 1000, 1001, 5000] {
        let error = io::Error::other(format!("e{at_ms}"));
        let now = begin + Duration::from_millis(at_ms);
        if let Some(report) = reports.report(DiskOperation::Write, error, now) {
            report.tell();
        }
    }
    let expected = ["2 Write e0 0", "2 Write e1000 3", "2 Write e5000 1"];
    assert_eq!(*told.lock().unwrap(), expected);
}
