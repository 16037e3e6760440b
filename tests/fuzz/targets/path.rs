//! A request's path: whatever the text, its normal forms are stable, no longer than it, and without a way up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidestep_fuzz::model::{PathForm, normalize};

const FORMS: [PathForm; 4] =
    [PathForm::None, PathForm::Base, PathForm::MergeSlashes, PathForm::DecodeAndMergeSlashes];

fuzz_target!(|path: &str| {
    for form in FORMS {
        let Ok(normal) = normalize(path, form) else {
            assert!(FORMS.iter().all(|form| normalize(path, *form).is_err()), "ambiguous in one form alone");
            return;
        };
        assert!(normal.len() <= path.len());
        assert_eq!(normalize(&normal, form).as_deref(), Ok(&*normal), "not stable");
        assert!(!normal.contains('#'));
        if normal == "*" || form == PathForm::None {
            continue;
        }
        assert!(normal.starts_with('/') && !normal.contains('\\'));
        assert!(normal.split('/').all(|segment| !is_dots(segment)), "{normal} has a way up");
        if form != PathForm::Base {
            assert!(!normal.contains("//"));
        }
        if form == PathForm::DecodeAndMergeSlashes {
            let lower = normal.to_ascii_lowercase();
            assert!(!lower.contains("%2f") && !lower.contains("%5c"));
        }
    }
});

/// Whether a segment is `.` or `..`, however it is written.
fn is_dots(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}
