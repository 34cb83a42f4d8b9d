from gateway.edge import shortcut

FORM: int

class Shortcut(shortcut.Shortcut): ...
