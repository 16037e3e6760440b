//! Very many pods of one node, each with a namespace, a cgroup and a first process of its own.

use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::lab::node::{LET_GO, SERVING, Since};
use crate::lab::{Agent, Lab, Node, Pod, Program};

/// One of them.
#[derive(Debug)]
pub(super) struct Resident {
    pub(super) name: String,
    // Before the pod: what runs inside goes first.
    _pause: Program,
    pub(super) pod: Pod,
}

/// Pods of a node; the first of them are known to the API server, and so enrolled.
#[derive(Debug)]
pub(super) struct Pods<'a> {
    lab: &'a Lab,
    node: &'a Node<'a>,
    residents: Vec<Resident>,
    known: usize,
}

impl<'a> Pods<'a> {
    pub(super) fn none(lab: &'a Lab, node: &'a Node<'a>) -> Self {
        Self { lab, node, residents: Vec::new(), known: 0 }
    }

    /// Makes pods until there are as many; nobody is told of them.
    pub(super) fn build(&mut self, count: usize) -> Result<()> {
        while self.residents.len() < count {
            self.lab.patience().check()?;
            let number = u16::try_from(self.residents.len()).context("that many pods have no addresses")?;
            let name = format!("w{number}");
            let pod = Pod::one_of_many(self.lab, &name, number)?;
            self.residents.push(Resident { name, _pause: self.node.pause(&pod)?, pod });
        }
        Ok(())
    }

    /// All that are known.
    pub(super) fn names(&self) -> Vec<String> {
        self.residents[..self.known].iter().map(|resident| resident.name.clone()).collect()
    }

    /// The first ones.
    pub(super) fn first(&self, count: usize) -> &[Resident] {
        &self.residents[..count.min(self.residents.len())]
    }

    /// Tells the API server of so many, one after the other, and waits until the agent serves them, or has let go of those
    /// that are known no more. When it said so of the last one.
    pub(super) fn enrol(&mut self, agent: &mut Agent<'_>, count: usize) -> Result<SystemTime> {
        self.build(count)?;
        let (since, known) = (agent.now(), self.known);
        self.known = count;
        if count >= known {
            let new = &self.residents[known..count];
            new.iter().for_each(|it| self.node.runs(&it.pod, &it.name));
            until(agent, SERVING, new, since)
        } else {
            let gone = &self.residents[count..known];
            gone.iter().for_each(|it| self.node.disable(&it.pod, &it.name));
            let last = until(agent, LET_GO, gone, since)?;
            gone.iter().for_each(|it| self.node.delete("Pod", &it.name));
            Ok(last)
        }
    }
}

fn until(agent: &mut Agent<'_>, message: &str, of: &[Resident], since: Since) -> Result<SystemTime> {
    let names: Vec<String> = of.iter().map(|resident| resident.name.clone()).collect();
    agent.until_says(message, &names, since)
}
