"""What every module may use: checks, warnings, threads, files and logging."""
