//! The terminal while the view has it: the alternate screen, in raw mode.

use anyhow::{Context as _, Result};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use ratatui::crossterm::terminal;
use tokio::sync::mpsc;

use super::model::Model;
use super::state::State;
use super::view;

/// The terminal, which is as before once this is dropped. A panic gives it back before its message,
/// too.
pub(super) struct Screen(DefaultTerminal);

/// What happens at the terminal.
#[derive(Debug)]
pub(super) enum Input {
    /// A key is pressed.
    Key(KeyEvent),
    /// It has another size.
    Resized,
}

/// How many keys may wait.
const MAX_WAITING: usize = 64;

impl Screen {
    /// Whether the terminal has a size. A serial line may tell none.
    pub(super) fn is_there() -> bool {
        terminal::size().is_ok_and(|(width, height)| width > 0 && height > 0)
    }

    /// Takes the terminal.
    ///
    /// # Errors
    /// If it cannot be set up. It is as before then.
    pub(super) fn open() -> Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                let _ = ratatui::try_restore();
                Err(error).context("failed to set up the terminal")
            }
        }
    }

    /// Draws the view, in the size that the terminal has now.
    ///
    /// # Errors
    /// If the terminal cannot be written to.
    pub(super) fn draw(&mut self, model: &Model, state: &mut State) -> Result<()> {
        let mut furthest = 0;
        self.0
            .draw(|frame| furthest = view::render(frame, model, state))
            .context("failed to write to the terminal")?;
        state.scroll = state.scroll.min(furthest);
        Ok(())
    }

    /// What happens at the terminal from now on. It is read on a thread, which ends with the
    /// process. If it cannot be read, nothing happens.
    pub(super) fn input(&self) -> mpsc::Receiver<Input> {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        std::thread::spawn(move || {
            while let Ok(event) = event::read() {
                let input = match event {
                    Event::Key(key) if key.kind != KeyEventKind::Release => Input::Key(key),
                    Event::Resize(..) => Input::Resized,
                    _ => continue,
                };
                if sender.blocking_send(input).is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // If the terminal is gone, nobody can be told.
        let _ = self.0.show_cursor();
        let _ = ratatui::try_restore();
    }
}
