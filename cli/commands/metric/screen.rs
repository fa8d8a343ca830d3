//! The terminal while the view has it: the alternate screen, in raw mode.

use anyhow::{Context as _, Result};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use ratatui::crossterm::terminal;
use tokio::sync::mpsc;

use super::model::Model;
use super::state::State;
use super::view;

/// The terminal, which is as before once this is dropped. A panic gives it back before its message.
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
        // A panic has restored it already. Once more would put the cursor back to where it was before,
        // and what follows over the message.
        if !std::thread::panicking() {
            let _ = ratatui::try_restore();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kes_testkit::Tmux;

    use super::*;

    /// Has the test below panic in the view: it runs itself at a terminal.
    const PANICS: &str = "KES_TEST_PANICS";

    #[test]
    fn after_a_panic_the_terminal_is_as_before_and_shows_the_message() {
        if std::env::var_os(PANICS).is_some() {
            let mut screen = Screen::open().unwrap();
            let model = Model::new(["the-view:1".to_owned()]);
            screen.draw(&model, &mut State::new(Duration::from_secs(1), true)).unwrap();
            panic!("a mistake in the view");
        }
        let tests = std::env::current_exe().unwrap();
        let module = module_path!().split_once("::").unwrap().1;
        let name =
            format!("{module}::after_a_panic_the_terminal_is_as_before_and_shows_the_message");
        let run = format!("{PANICS}=1 {} --exact {name} --nocapture", tests.display());
        let line = format!("echo before; {run}; echo status $?; stty -a; cat");
        let terminal = Tmux::start((120, 40), &line, []);
        let screen = terminal.wait_for("the end", |screen| screen.contains("iexten"));
        let found = ["before\n", "a mistake in the view\n", "\nstatus 101\n"];
        let places = found.map(|text| screen.find(text));
        assert!(places.is_sorted() && places[0].is_some(), "{places:?} {screen}");
        assert!(!screen.contains("the-view:1"), "{screen}");
        assert!(screen.contains(" icanon ") && screen.contains(" echo "), "{screen}");
        assert!(!screen.contains("-icanon") && !screen.contains("-echo "), "{screen}");
        assert_eq!(terminal.tells("#{alternate_on} #{cursor_flag}"), "0 1");
    }
}
