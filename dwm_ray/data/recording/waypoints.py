"""A scripted policy for PointMaze that follows the shortest path of cells to the goal, with noisy actions.

D4RL's maze2d data (arXiv 2004.07219, appendix) come from such a controller, which chooses a new goal after each
success. Here, the environment chooses the goal, and the ball stays there until the episode ends. Every episode
succeeds.
"""

from collections import deque

import gymnasium
import numpy as np

GAIN, DAMPING = 10.0, 1.0
"""Force per metre of distance to the waypoint, and per m/s of velocity (D4RL's controller)."""
NOISE_STD = 0.5
"""Standard deviation of the noise on each force in -1..1 (D4RL's)."""
NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))

Cell = tuple[int, int]


class WaypointPolicy:
    """Policy from observations (position, velocity, goal) to forces, for PointMaze environments only."""

    def __init__(self, env: gymnasium.Env, seed: int) -> None:
        if not env.spec.id.startswith("PointMaze"):
            raise ValueError(f"--recipe waypoints: cannot control {env.spec.id}; expected a PointMaze environment")
        self._maze = env.unwrapped.maze
        self._rng = np.random.default_rng(seed)
        self._goal: Cell | None = None
        self._steps: dict[Cell, int] = {}

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Return a noisy action [2] within the bounds."""
        position, velocity, goal = np.split(obs, 3)
        force = GAIN * (self._waypoint(position, goal) - position) - DAMPING * velocity
        return np.clip(force + NOISE_STD * self._rng.standard_normal(2), -1, 1).astype(np.float32)

    def _waypoint(self, position: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Return the goal if it is in the ball's cell, else the centre of the next cell on the shortest path."""
        current, target = self._cell(position), self._cell(goal)
        if target != self._goal:
            self._goal, self._steps = target, steps_to(target, self._maze.maze_map)
        if current == target:
            return goal
        nearest = min(_neighbours(current), key=lambda cell: self._steps.get(cell, np.inf))
        return self._maze.cell_rowcol_to_xy(np.array(nearest))

    def _cell(self, position: np.ndarray) -> Cell:
        row, column = self._maze.cell_xy_to_rowcol(position)
        return int(row), int(column)


def steps_to(goal: Cell, maze_map: list[list[int | str]]) -> dict[Cell, int]:
    """Return the number of moves to `goal` from every cell that can reach it; 1 in the map is a wall."""
    steps, queue = {goal: 0}, deque([goal])
    while queue:
        cell = queue.popleft()
        for row, column in _neighbours(cell):
            inside = 0 <= row < len(maze_map) and 0 <= column < len(maze_map[0])
            if inside and maze_map[row][column] != 1 and (row, column) not in steps:
                steps[row, column] = steps[cell] + 1
                queue.append((row, column))
    return steps


def _neighbours(cell: Cell) -> list[Cell]:
    return [(cell[0] + down, cell[1] + right) for down, right in NEIGHBOURS]
