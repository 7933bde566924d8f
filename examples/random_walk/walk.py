"""n-step TD prediction on a random walk (Sutton & Barto, 2nd edition, section 7.1, figure 7.2).

A walk starts in the middle of `states` states in a row and steps left or right with equal chance
until it leaves the row: on the left with reward -1, on the right with +1. The true value of state i
(1 is the leftmost) is 2 i / (states + 1) - 1.
"""

import math

import numpy as np

_BLOCK = 512


def rms_error(n, alpha, *, states, episodes, seed):
    """Learn for some episodes; give the RMS error averaged over the states and the episodes."""
    steps = _steps(np.random.default_rng(seed))
    true = [2 * state / (states + 1) - 1 for state in range(1, states + 1)]
    value = [0.0] * (states + 2)
    total = 0.0
    for _ in range(episodes):
        path, reward = _episode(steps, states)
        end = len(path)
        for now, state in enumerate(path):
            later = now + n
            target = reward if later >= end else value[path[later]]
            value[state] += alpha * (target - value[state])
        errors = ((value[state + 1] - true[state]) ** 2 for state in range(states))
        total += math.sqrt(sum(errors) / states)
    return {"rms": total / episodes}


def _steps(generator):
    """Yield -1 or +1 for ever: step k is +1 where the generator's k-th uniform number is >= 0.5."""
    while True:
        yield from np.where(generator.random(_BLOCK) < 0.5, -1, 1).tolist()


def _episode(steps, states):
    """Walk once; give the states visited, without the terminal one, and the last reward."""
    state = (states + 1) // 2
    path = []
    while 1 <= state <= states:
        path.append(state)
        state += next(steps)
    return path, -1.0 if state == 0 else 1.0
