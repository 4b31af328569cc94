"""The colours of all pictures, in the light theme and in the dark one."""

INK, MUTED, GRID, CARD = "#1b1e28", "#667085", "#e7e9ee", "#ffffff"
ACCENT, SECOND, PRUNED, FAILED, FAINT = "#3f5bd9", "#e07a1f", "#a4abb8", "#d23f3f", "#b9c3ee"
LOW, HIGH = "#eef1fc", "#22338f"
SCALE = [[0, LOW], [0.6, ACCENT], [1, HIGH]]
PALETTE = {  # light: dark
    INK: "#e9ebf1", MUTED: "#98a1b3", GRID: "#2b303d", CARD: "#181b23",
    ACCENT: "#8b9dff", SECOND: "#ffa657", PRUNED: "#6c7487", FAILED: "#ff7575", FAINT: "#4a5595",
    LOW: "#20263c", HIGH: "#d3dbff",
}  # fmt: skip
