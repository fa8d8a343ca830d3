use std::collections::VecDeque;
use std::sync::Arc;

use kes_api::KeyName;
use kes_keystore::Value;

/// How many blocks are kept: keys are read in the order of their names, some at a time.
const KEPT: usize = 2;

/// The keys of 64 KiB.
pub(super) type Block = Vec<(KeyName, Value)>;

/// The blocks that were read last, with their places in the index.
#[derive(Default)]
pub(super) struct Blocks(VecDeque<(usize, Arc<Block>)>);

impl Blocks {
    pub(super) fn get(&self, place: usize) -> Option<Arc<Block>> {
        self.0.iter().find(|(of, _)| *of == place).map(|(_, block)| Arc::clone(block))
    }

    pub(super) fn add(&mut self, place: usize, block: &Arc<Block>) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back((place, Arc::clone(block)));
    }
}
