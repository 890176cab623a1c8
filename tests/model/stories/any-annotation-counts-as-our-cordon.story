# Mutant "any annotation counts as our cordon": P4: it uncordons what a person cordoned
search alone
A: reads its Node
A: reads slots and host, sends the confirmation
A: the API applies its confirmation
A: gets the answer to its confirmation
A: reads its Node
A: reads slots and host, sends the claim of slot 0
A: the API applies its claim of slot 0
A: gets the answer to its claim of slot 0
A: reads its Node
A: reads slots and host, sends the cordon
A: the API applies its cordon
A: gets the answer to its cordon
A: a person uncordons its Node
A: a person cordons its Node
A: reads its Node
A: reads slots and host, finds that a person holds the node, sends the uncordon
A: the API applies its uncordon
---
A: reads its Node
    slot 0 free | A up
A: reads slots and host, sends the confirmation
    slot 0 free | A up, waits for an answer
A: the API applies its confirmation
    slot 0 free | A up, waits for an answer
A: gets the answer to its confirmation
    slot 0 free | A up
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
A: reads slots and host, sends the cordon
    slot 0 held by A (this boot) | A up, waits for an answer
A: the API applies its cordon
    slot 0 held by A (this boot) | A up, cordoned by us, waits for an answer
A: gets the answer to its cordon
    slot 0 held by A (this boot) | A up, cordoned by us
A: a person uncordons its Node
    slot 0 held by A (this boot) | A up, our mark
A: a person cordons its Node
    slot 0 held by A (this boot) | A up, cordoned by a person, our mark
A: reads its Node
    slot 0 held by A (this boot) | A up, cordoned by a person, our mark
A: reads slots and host, finds that a person holds the node, sends the uncordon
    cannot happen; instead: A: reads slots and host, sends the removal of the mark
