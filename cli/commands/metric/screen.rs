//! The terminal while the view has it: the alternate screen, in raw mode.

use std::io;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen};
use ratatui::{DefaultTerminal, Terminal};
use rustix::process::{Signal, kill_current_process_group};
use tokio::sync::mpsc;

use super::model::Model;
use super::state::State;
use super::view;

/// The terminal, which is as before once this is dropped. A panic, wherever it is, gives it back before
/// its message.
pub(super) struct Screen(DefaultTerminal);

/// Whether a panic has given the terminal back. What is written to it then would stand over the message.
static HAS_PANICKED: AtomicBool = AtomicBool::new(false);

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
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |what| {
            // Once: the next time would put the cursor back to where it was before, and what follows over
            // the message.
            if !HAS_PANICKED.swap(true, Ordering::Relaxed) {
                let _ = ratatui::try_restore();
            }
            tell(what);
        }));
        let terminal = take().and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match terminal {
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
    /// If the terminal cannot be written to, or a panic has given it back.
    pub(super) fn draw(&mut self, model: &Model, state: &mut State) -> Result<()> {
        if HAS_PANICKED.load(Ordering::Relaxed) {
            bail!("a part of the view has failed");
        }
        let mut furthest = 0;
        self.0
            .draw(|frame| furthest = view::render(frame, model, state))
            .context("failed to write to the terminal")?;
        state.scroll = state.scroll.min(furthest);
        Ok(())
    }

    /// Gives the terminal back and stops, as Ctrl-Z has other programs do, and takes the terminal again
    /// once the shell has it go on.
    ///
    /// # Errors
    /// If the terminal cannot be set up.
    pub(super) fn stop(&mut self) -> Result<()> {
        let _ = self.0.show_cursor();
        ratatui::try_restore().context("failed to give the terminal back")?;
        // As the terminal does where it is not raw: all of the group, so that a script that waits for
        // this command stops as well. The system ignores it where nobody could have them go on.
        kill_current_process_group(Signal::TSTP).context("failed to stop")?;
        take().and_then(|()| self.clear()).context("failed to set up the terminal")
    }

    /// Sets the terminal up again and has all of it drawn next, after the process was stopped by
    /// somebody else: a shell has set it up for itself meanwhile.
    ///
    /// # Errors
    /// If it cannot be set up.
    pub(super) fn go_on(&mut self) -> Result<()> {
        // It would not be set up while it is thought to be.
        let set_up = terminal::disable_raw_mode().and_then(|()| terminal::enable_raw_mode());
        set_up.and_then(|()| self.clear()).context("failed to set up the terminal")
    }

    /// Clears the screen and what is known of it, without the question to the terminal for its cursor that
    /// the library has: the answer would come as input.
    fn clear(&mut self) -> io::Result<()> {
        execute!(io::stdout(), Clear(ClearType::All))?;
        // What was drawn last becomes the next one, empty.
        self.0.swap_buffers();
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

/// Takes the terminal from the shell.
fn take() -> io::Result<()> {
    terminal::enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen)
}

impl Drop for Screen {
    fn drop(&mut self) {
        // If the terminal is gone, nobody can be told.
        let _ = self.0.show_cursor();
        if !HAS_PANICKED.load(Ordering::Relaxed) {
            let _ = ratatui::try_restore();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kes_testkit::Tmux;

    use super::*;

    /// Has a test below panic in the view: it runs itself at a terminal.
    const PANICS: &str = "KES_TEST_PANICS";

    fn screen() -> (Screen, Model, State) {
        let mut screen = Screen::open().unwrap();
        let model = Model::new(["the-view:1".to_owned()]);
        let mut state = State::new(Duration::from_secs(1), true);
        screen.draw(&model, &mut state).unwrap();
        (screen, model, state)
    }

    /// Runs a test at a terminal, where it panics, and checks what is left there.
    fn shows_the_message(test: &str, message: &str) {
        let tests = std::env::current_exe().unwrap();
        let module = module_path!().split_once("::").unwrap().1;
        let run = format!("{PANICS}=1 {} --exact {module}::{test} --nocapture", tests.display());
        let line = format!("echo before; {run}; echo status $?; stty -a; cat");
        let terminal = Tmux::start((120, 40), &line, []);
        let screen = terminal.wait_for("the end", |screen| screen.contains("iexten"));
        let found = ["before\n", message, "\nstatus 101\n"];
        let places = found.map(|text| screen.find(text));
        assert!(places.is_sorted() && places[0].is_some(), "{places:?} {screen}");
        assert!(!screen.contains("the-view:1"), "{screen}");
        assert!(screen.contains(" icanon ") && screen.contains(" echo "), "{screen}");
        assert!(!screen.contains("-icanon") && !screen.contains("-echo "), "{screen}");
        assert_eq!(terminal.tells("#{alternate_on} #{cursor_flag}"), "0 1");
    }

    #[test]
    fn after_a_panic_the_terminal_is_as_before_and_shows_the_message() {
        if std::env::var_os(PANICS).is_some() {
            let _screen = screen();
            panic!("a mistake in the view");
        }
        let test = "after_a_panic_the_terminal_is_as_before_and_shows_the_message";
        shows_the_message(test, "a mistake in the view\n");
    }

    /// A reader of a server is a task, whose panic the view survives.
    #[test]
    fn after_a_panic_of_a_reader_nothing_is_drawn_over_its_message() {
        if std::env::var_os(PANICS).is_some() {
            let (mut screen, model, mut state) = screen();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let reader = runtime.spawn(async { panic!("a mistake in a reader") });
            runtime.block_on(reader).unwrap_err();
            // As when another server answers before the end of the reader is noticed.
            state.help = true;
            let drawn = screen.draw(&model, &mut state);
            drop(screen);
            panic!("then: {drawn:?}");
        }
        let test = "after_a_panic_of_a_reader_nothing_is_drawn_over_its_message";
        shows_the_message(test, "a mistake in a reader\n");
    }
}
