"""What any trainer step can use: parameter groups, freezing, optimizers and schedules."""
