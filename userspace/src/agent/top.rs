//! `sidestep top`: the workloads that are served here, live, or once as text.
//!
//! # Layout
//! - here: the loop of looking and drawing, and the keys
//! - `rates`: what happened between two looks
//! - `frame`: what is drawn of it

mod frame;
mod rates;

use std::io::{IsTerminal, stdout};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::agent::asking::Meant;
use crate::agent::sidecar::Stop;
use crate::agent::status::everybody;
use crate::cli::{Sort, TopArgs};
use frame::View;
use rates::{Look, Rates};

/// Looks and draws until whoever watches has seen enough.
///
/// # Errors
/// Nothing runs here, or this is no terminal.
pub(super) async fn watch(args: TopArgs) -> Result<()> {
    let mut view = View::new(args.sort);
    let (first, _) = look(args.workload.as_deref()).await?;
    if args.once {
        sleep(args.interval).await;
        let (second, lost) = look(args.workload.as_deref()).await?;
        view.tell(Rates::between(&first, &second), lost);
        return print_once(&mut view);
    }
    if !stdout().is_terminal() {
        bail!("expected a terminal, found none; --once prints one table as text");
    }
    let mut stop = Stop::listen()?;
    let mut terminal = ratatui::try_init().context("take over the terminal")?;
    let watched = live(&mut terminal, &mut view, &args, first, &mut stop).await;
    ratatui::restore();
    watched
}

fn print_once(view: &mut View) -> Result<()> {
    let [columns, rows] = [view.width(), view.height()].map(|size| u16::try_from(size).unwrap_or(u16::MAX));
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).context("draw")?;
    terminal.draw(|frame| view.draw(frame)).context("draw")?;
    let buffer = terminal.backend().buffer();
    for row in buffer.content().chunks(usize::from(columns)) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        println!("{}", line.trim_end());
    }
    Ok(())
}

async fn live(
    terminal: &mut ratatui::DefaultTerminal,
    view: &mut View,
    args: &TopArgs,
    first: Look,
    stop: &mut Stop,
) -> Result<()> {
    let mut keys = keys()?;
    let mut before = first;
    let mut looks = interval(args.interval);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks.tick().await;
    view.tell(Rates::between(&before, &before), None);
    loop {
        terminal.draw(|frame| view.draw(frame)).context("draw")?;
        tokio::select! {
            () = stop.told() => return Ok(()),
            _ = looks.tick() => {
                // What is paused stays as it is, and rates go on from the last look.
                if view.paused() {
                    continue;
                }
                match look(args.workload.as_deref()).await {
                    Ok((now, lost)) => {
                        view.tell(Rates::between(&before, &now), lost);
                        before = now;
                    }
                    Err(error) => view.lost(format!("{error:#}")),
                }
            }
            event = keys.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    if press(view, key) == Ends::Now {
                        return Ok(());
                    }
                }
                Some(_) => {}
                None => bail!("the terminal says nothing any more"),
            },
        }
    }
}

/// Whether a key ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Now,
    NotYet,
}

fn press(view: &mut View, key: KeyEvent) -> Ends {
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ends::Now,
        KeyCode::Char('q') | KeyCode::Esc => return Ends::Now,
        KeyCode::Char('o') => view.sort_by(Sort::Open),
        KeyCode::Char('n') => view.sort_by(Sort::Connects),
        KeyCode::Char('r') => view.sort_by(Sort::Requests),
        KeyCode::Char('l') => view.sort_by(Sort::P99),
        KeyCode::Char('d') => view.sort_by(Sort::Denied),
        KeyCode::Char('w') => view.sort_by(Sort::Name),
        KeyCode::Char(' ') => view.pause(),
        KeyCode::Up | KeyCode::Char('k') => view.scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => view.scroll(1),
        KeyCode::PageUp => view.scroll(-10),
        KeyCode::PageDown => view.scroll(10),
        KeyCode::Home => view.scroll(isize::MIN),
        _ => {}
    }
    Ends::NotYet
}

/// What the terminal says, read by a thread that ends with the process: reading cannot be interrupted.
fn keys() -> Result<mpsc::Receiver<Event>> {
    let (tell, told) = mpsc::channel(16);
    let read = move || {
        while let Ok(event) = event::read() {
            if tell.blocking_send(event).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("keys".to_owned()).spawn(read).context("read the keyboard")?;
    Ok(told)
}

/// How everything stands now, and what did not answer.
async fn look(workload: Option<&str>) -> Result<(Look, Option<String>)> {
    let everybody: Vec<Meant> = everybody(workload).await?;
    let (mut answers, mut lost) = (Vec::new(), None);
    for meant in &everybody {
        match meant.json("/v1/status").await {
            Ok(status) => answers.push((meant.socket.name.clone(), status)),
            Err(error) => lost = Some(format!("{error:#}")),
        }
    }
    match (answers.is_empty(), lost) {
        (true, Some(lost)) => bail!("{lost}"),
        (_, lost) => Ok((Look::new(Instant::now(), answers), lost)),
    }
}
