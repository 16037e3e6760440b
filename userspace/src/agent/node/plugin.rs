//! What the CNI plugin asks for, handed to the node's one task and answered from there.

use std::collections::BTreeSet;

use tokio::sync::{mpsc, oneshot};

use super::Event;
use crate::cni::{Answered, Attachment, AttachmentId, Detached, Enrol, Refusal, RefusalKind};

/// The plugin's counterpart.
pub(super) struct Plugin {
    events: mpsc::Sender<Event>,
}

/// Where an answer is waited for.
pub(super) type Answer = oneshot::Sender<Result<(), Refusal>>;

impl Plugin {
    pub(super) fn new(events: mpsc::Sender<Event>) -> Self {
        Self { events }
    }

    fn ask(&self, event: impl FnOnce(Answer) -> Event) -> Answered<'_> {
        let (answer, answered) = oneshot::channel();
        let event = event(answer);
        Box::pin(async move {
            let ending = || Refusal::new(RefusalKind::TryAgain, "the agent of this node is about to end");
            self.events.send(event).await.map_err(|_| ending())?;
            answered.await.unwrap_or_else(|_| Err(ending()))
        })
    }
}

impl Enrol for Plugin {
    fn add(&self, attachment: Attachment) -> Answered<'_> {
        self.ask(|answer| Event::Attach { attachment, answer })
    }

    fn delete(&self, gone: Detached) -> Answered<'_> {
        self.ask(|answer| Event::Detach { gone, answer })
    }

    fn check(&self, attachment: Attachment) -> Answered<'_> {
        self.ask(|answer| Event::Check { attachment, answer })
    }

    fn gc(&self, network: String, valid: BTreeSet<AttachmentId>) -> Answered<'_> {
        self.ask(|answer| Event::Collect { network, valid, answer })
    }

    fn status(&self) -> Answered<'_> {
        self.ask(|answer| Event::Status { answer })
    }
}
