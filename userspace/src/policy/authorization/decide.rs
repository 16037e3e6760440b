//! The decision: what the rules that match come to.

use super::rule::Truth;
use super::rulebook::{Found, Group, Rulebook};
use super::seen::Seen;
use super::{Call, Prospect};
use crate::model::{Decided, Ruling};

/// What holds for a call.
pub(super) fn decide(book: &Rulebook, call: &Call<'_>) -> Decided {
    conclude(book, &book.find(&Seen::call(call, book.reads_accounts())))
}

/// What is known of a connection that has said nothing.
pub(super) fn prospect(book: &Rulebook, seen: &Seen<'_>) -> Prospect {
    let found = book.find(seen);
    let depends = |group| found.truth(group) == Truth::Perhaps;
    let denied =
        found.truth(Group::Deny) == Truth::Yes || (book.allows && found.truth(Group::Allow) == Truth::No);
    let open = depends(Group::Deny) || depends(Group::Allow);
    // What is let in anyway is looked into for the sake of those that are to be told.
    let untold = depends(Group::Audit)
        || depends(Group::TriedDeny)
        || (!book.allows && book.would_allow && depends(Group::TriedAllow));
    if !denied && (open || untold) { Prospect::ByContent } else { Prospect::Decided(conclude(book, &found)) }
}

fn conclude(book: &Rulebook, found: &Found) -> Decided {
    let name = |group| found.first(group).map(|number| book.name(number));
    let ruling = match (name(Group::Deny), name(Group::Allow)) {
        (Some(denied), _) => Ruling::Denied(Some(denied)),
        (None, None) if book.allows => Ruling::Denied(None),
        (None, allowed) => Ruling::Allowed(allowed),
    };
    // With the policies that are only tried there would be more that denies, more that allows, and perhaps for the first time
    // something that has to allow.
    let would_be = match (&ruling, name(Group::TriedDeny), name(Group::TriedAllow)) {
        (Ruling::Denied(Some(_)), ..) | (Ruling::Denied(None), Some(_), _) => None,
        (Ruling::Denied(None), None, would_allow) => would_allow.map(|name| Ruling::Allowed(Some(name))),
        (Ruling::Allowed(_), Some(would_deny), _) => Some(Ruling::Denied(Some(would_deny))),
        (Ruling::Allowed(None), None, None) if book.would_allow => Some(Ruling::Denied(None)),
        (Ruling::Allowed(_), None, _) => None,
    };
    Decided { ruling, would_be, audited: name(Group::Audit) }
}
