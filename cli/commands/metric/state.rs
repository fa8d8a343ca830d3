//! What the keys do: which part of the view is shown, and how often it is read.

use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The limits of what the keys set. With `--rate` anything from 1 ms on can be set.
const FASTEST: Duration = Duration::from_millis(250);
const SLOWEST: Duration = Duration::from_secs(64);

/// The keys, as the help shows them.
pub(super) const HELP: [(&str, &str); 8] = [
    ("← → tab 1-9", "choose a server"),
    ("enter", "that one alone, or all"),
    ("↑ ↓", "scroll"),
    ("o", "all operations, or few"),
    ("p", "pause, or go on"),
    ("+ -", "read more, less often"),
    ("?", "this help"),
    ("q", "quit"),
];

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The chosen server.
    pub(super) chosen: usize,
    /// Whether the chosen server is shown without the others.
    pub(super) alone: bool,
    /// Whether all operations are shown, also if they do not fit.
    pub(super) all_operations: bool,
    /// Whether the help is shown.
    pub(super) help: bool,
    /// Whether nothing is read.
    pub(super) paused: bool,
    /// How often the metrics are read.
    pub(super) rate: Duration,
    /// How many rows are left out above.
    pub(super) scroll: u16,
    /// Whether there is colour.
    pub(super) color: bool,
}

/// What follows a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The view is drawn.
    Draw,
    /// The same, and the servers are read otherwise from now on.
    Settings,
    /// The view ends.
    Quit,
    /// The process stops until it is told to go on.
    Stop,
}

impl State {
    /// The start.
    pub(super) fn new(rate: Duration, color: bool) -> Self {
        Self {
            chosen: 0,
            alone: false,
            all_operations: false,
            help: false,
            paused: false,
            rate,
            scroll: 0,
            color,
        }
    }

    /// Obeys a key. Others than those of [`HELP`] do nothing.
    pub(super) fn press(&mut self, key: KeyEvent, servers: usize) -> Then {
        let with_ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if with_ctrl => return Then::Quit,
            KeyCode::Char('z') if with_ctrl => return Then::Stop,
            KeyCode::Char(_) if with_ctrl => return Then::Draw,
            KeyCode::Char('q') => return Then::Quit,
            // Whatever it was for, it ends the help.
            _ if self.help => {
                self.help = false;
                return Then::Draw;
            }
            KeyCode::Char('?') | KeyCode::F(1) => self.help = true,
            KeyCode::Char('p' | ' ') => {
                self.paused = !self.paused;
                return Then::Settings;
            }
            KeyCode::Char('+' | '=') => {
                self.rate = (self.rate / 2).max(FASTEST.min(self.rate));
                return Then::Settings;
            }
            KeyCode::Char('-') => {
                self.rate = (self.rate.saturating_mul(2)).min(SLOWEST.max(self.rate));
                return Then::Settings;
            }
            KeyCode::Char('o') => self.all_operations = !self.all_operations,
            KeyCode::Enter if servers > 1 => self.alone = !self.alone,
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(10),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(10),
            KeyCode::Home => self.scroll = 0,
            KeyCode::End => self.scroll = u16::MAX,
            KeyCode::Right | KeyCode::Tab => self.choose((self.chosen + 1) % servers.max(1)),
            KeyCode::Left | KeyCode::BackTab => {
                self.choose((self.chosen + servers.max(1) - 1) % servers.max(1));
            }
            KeyCode::Char(digit) => {
                let number = digit.to_digit(10).and_then(|number| usize::try_from(number).ok());
                if let Some(number) = number.filter(|number| (1..=servers).contains(number)) {
                    self.choose(number - 1);
                }
            }
            _ => {}
        }
        Then::Draw
    }

    fn choose(&mut self, server: usize) {
        self.chosen = server;
        self.scroll = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State::new(Duration::from_secs(5), true)
    }

    fn press(state: &mut State, codes: &[KeyCode]) -> Then {
        let press = |code: &KeyCode| state.press(KeyEvent::new(*code, KeyModifiers::NONE), 3);
        codes.iter().map(press).last().unwrap()
    }

    #[test]
    fn keys_choose_a_server() {
        use KeyCode::{BackTab, Char, Left, Right, Tab};
        let mut state = state();
        for (codes, chosen) in [
            (&[Right][..], 1),
            (&[Tab, Tab], 0),
            (&[Left], 2),
            (&[BackTab], 1),
            (&[Char('3')], 2),
            (&[Char('4'), Char('0'), Char('x')], 2),
            (&[Char('1')], 0),
        ] {
            state.scroll = 3;
            assert_eq!(press(&mut state, codes), Then::Draw);
            assert_eq!(state.chosen, chosen, "{codes:?}");
        }
        assert_eq!(state.scroll, 0);
        // Without any server nothing fails.
        assert_eq!(state.press(KeyEvent::new(Right, KeyModifiers::NONE), 0), Then::Draw);
    }

    #[test]
    fn any_key_ends_the_help_and_does_nothing_else() {
        let mut state = state();
        press(&mut state, &[KeyCode::Char('?')]);
        assert!(state.help);
        assert_eq!(press(&mut state, &[KeyCode::Char('p')]), Then::Draw);
        assert!(!state.help && !state.paused);
        press(&mut state, &[KeyCode::Char('?')]);
        assert_eq!(press(&mut state, &[KeyCode::Char('q')]), Then::Quit);
    }

    #[test]
    fn ctrl_c_ends_it_ctrl_z_stops_it_and_other_control_keys_do_nothing() {
        let mut state = state();
        let ctrl = |letter| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
        assert_eq!(state.press(ctrl('p'), 1), Then::Draw);
        assert_eq!(state, self::state());
        assert_eq!(state.press(ctrl('z'), 1), Then::Stop);
        assert_eq!(state.press(ctrl('c'), 1), Then::Quit);
    }

    #[test]
    fn the_rate_has_limits_but_for_that_of_the_command_line() {
        let (faster, slower) = (KeyCode::Char('+'), KeyCode::Char('-'));
        let mut state = state();
        assert_eq!(press(&mut state, &[slower]), Then::Settings);
        assert_eq!(state.rate, Duration::from_secs(10));
        press(&mut state, &[faster; 20]);
        assert_eq!(state.rate, FASTEST);
        press(&mut state, &[slower; 20]);
        assert_eq!(state.rate, SLOWEST);
        state.rate = Duration::from_millis(1);
        press(&mut state, &[faster]);
        assert_eq!(state.rate, Duration::from_millis(1));
        state.rate = Duration::from_secs(3_600);
        press(&mut state, &[slower]);
        assert_eq!(state.rate, Duration::from_secs(3_600));
    }

    #[test]
    fn the_help_fits_into_the_smallest_terminal() {
        let width = |text: &str| text.chars().count();
        for (keys, meaning) in HELP {
            assert!(width(keys) <= 11 && width(meaning) <= 23, "{keys} {meaning}");
        }
    }
}
