"""Reinforcement learning: GRPO, PPO, their losses, rollouts and what a run writes down."""
