//! The thread on which a model computes: text after text, and what somebody waits for before all else.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{Failure, Model, Turn};

type Answer = Result<Vec<f32>, Failure>;

/// A model at work; it ends when this is dropped.
pub(super) struct Thread {
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

#[derive(Default)]
struct Waiting {
    next: VecDeque<Task>,
    later: VecDeque<Task>,
    closed: bool,
}

struct Task {
    text: String,
    answer: oneshot::Sender<Answer>,
}

impl Thread {
    /// Sets the model to work.
    pub(super) fn start(model: Box<dyn Model>) -> Self {
        let queue = Arc::new(Queue::default());
        let tasks = Arc::clone(&queue);
        let work = move || {
            while let Some(task) = tasks.take() {
                // Whoever asked may have gone.
                if !task.answer.is_closed() {
                    drop(task.answer.send(answer(&*model, &task.text)));
                }
            }
        };
        let started = std::thread::Builder::new().name("clawrk-model".to_owned()).spawn(work);
        drop(started.expect("a process that cannot start a thread cannot serve"));
        Self { queue }
    }

    /// Reads the texts, when it is their turn.
    pub(super) async fn embed(&self, texts: &[&str], turn: Turn) -> Result<Vec<Vec<f32>>, Failure> {
        let mut answers = Vec::with_capacity(texts.len());
        {
            let mut waiting = self.queue.lock();
            let queue = if turn == Turn::Next { &mut waiting.next } else { &mut waiting.later };
            for text in texts {
                let (answer, answered) = oneshot::channel();
                queue.push_back(Task { text: (*text).to_owned(), answer });
                answers.push(answered);
            }
        }
        self.queue.filled.notify_one();
        let mut read = Vec::with_capacity(texts.len());
        for answered in answers {
            read.push(answered.await.map_err(|_| Failure::Unavailable("the model has ended".to_owned()))??);
        }
        Ok(read)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.filled.notify_one();
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread").finish_non_exhaustive()
    }
}

impl Queue {
    /// Waits for a task; nothing when no more will come.
    fn take(&self) -> Option<Task> {
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return None;
            }
            if let Some(task) = waiting.next.pop_front().or_else(|| waiting.later.pop_front()) {
                return Some(task);
            }
            waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A model's files come from outside: what it stumbles over costs one text, and not the thread.
fn answer(model: &dyn Model, text: &str) -> Answer {
    match catch_unwind(AssertUnwindSafe(|| model.embed(text))) {
        Ok(Ok(numbers)) => Ok(numbers),
        Ok(Err(problem)) => Err(Failure::Refused(format!("the model cannot read a text: {problem}"))),
        Err(_) => Err(Failure::Refused("the model broke over a text".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Waits to be let on before each text, and stumbles over one that is empty.
    struct Slow {
        may: Mutex<mpsc::Receiver<()>>,
        begun: mpsc::Sender<String>,
    }

    impl Model for Slow {
        fn dimensions(&self) -> usize {
            1
        }

        fn embed(&self, text: &str) -> Result<Vec<f32>, String> {
            self.begun.send(text.to_owned()).unwrap();
            self.may.lock().unwrap().recv().unwrap();
            assert!(!text.is_empty(), "on purpose, over one text");
            Ok(vec![text.len() as f32])
        }
    }

    fn slow() -> (Thread, mpsc::Sender<()>, mpsc::Receiver<String>) {
        let ((go, may), (begun, told)) = (mpsc::channel(), mpsc::channel());
        (Thread::start(Box::new(Slow { may: Mutex::new(may), begun })), go, told)
    }

    #[tokio::test]
    async fn what_somebody_waits_for_goes_before_what_can_wait() {
        let (thread, go, told) = slow();
        let meanwhile = async {
            let mut order = vec![told.recv().unwrap()];
            let rest = async {
                for _ in 0..2 {
                    go.send(()).unwrap();
                    order.push(told.recv().unwrap());
                }
                go.send(()).unwrap();
            };
            let (next, ()) = tokio::join!(thread.embed(&["it"], Turn::Next), rest);
            (next, order)
        };
        let (later, (next, order)) = tokio::join!(thread.embed(&["one", "three"], Turn::Later), meanwhile);
        assert_eq!((later.unwrap(), next.unwrap()), (vec![vec![3.0], vec![5.0]], vec![vec![2.0]]));
        assert_eq!(order, ["one", "it", "three"]);
    }

    #[tokio::test]
    async fn a_text_that_breaks_the_model_costs_itself_alone_and_the_thread_ends_with_its_owner() {
        let (thread, go, told) = slow();
        (0..2).for_each(|_| go.send(()).unwrap());
        assert!(matches!(thread.embed(&[""], Turn::Next).await, Err(Failure::Refused(_))));
        assert_eq!(thread.embed(&["four"], Turn::Next).await, Ok(vec![vec![4.0]]));
        drop(thread);
        assert_eq!(told.iter().count(), 2, "it hangs up");
    }
}
