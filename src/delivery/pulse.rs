//! Whether the scheduler still comes round: whoever watches over the process asks, and the scheduler's own loop answers.

use tokio::sync::Notify;

/// For one who asks at a time.
#[derive(Debug, Default)]
pub struct Pulse {
    asked: Notify,
    answered: Notify,
}

impl Pulse {
    /// Returns once the scheduler has answered. Dropped before that, the answer may be the next question's.
    pub async fn beat(&self) {
        self.asked.notify_one();
        self.answered.notified().await;
    }

    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    pub(super) fn answer(&self) {
        self.answered.notify_one();
    }

    /// Answers while the scheduler waits for something of its own.
    pub(super) async fn answering<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.asked() => self.answer(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_beats_while_somebody_answers_and_not_otherwise() {
        let pulse = Arc::new(Pulse::default());
        let second = Duration::from_secs(1);
        assert!(timeout(second, pulse.beat()).await.is_err(), "nobody is there");
        let answers = Arc::clone(&pulse);
        let working = tokio::spawn(async move { answers.answering(tokio::time::sleep(second * 10)).await });
        for _ in 0..5 {
            assert!(timeout(second, pulse.beat()).await.is_ok());
        }
        working.await.unwrap();
        assert!(timeout(second, pulse.beat()).await.is_err(), "it ended");
    }
}
