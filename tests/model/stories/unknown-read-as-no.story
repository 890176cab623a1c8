# Mutant "unknown read as no": P8: it acts while it cannot tell whether the host goes down
search alone
A: reads its Node
A: reads slots and host, sends the claim of slot 0
A: the API applies its claim of slot 0
A: gets the answer to its claim of slot 0
A: reads its Node
A: reads slots and host, finds that a person holds the node, sends the confirmation
---
A: reads its Node
    slot 0 free | A up
A: reads slots and host, sends the claim of slot 0
    slot 0 free | A up, waits for an answer
A: the API applies its claim of slot 0
    slot 0 held by A (this boot) | A up, waits for an answer
A: gets the answer to its claim of slot 0
    slot 0 held by A (this boot) | A up
A: reads its Node
    slot 0 held by A (this boot) | A up
A: reads slots and host, finds that a person holds the node, sends the confirmation
    slot 0 held by A (this boot) | A up, waits for an answer
