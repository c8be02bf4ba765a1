; The eight queens, with lists and with closures as streams of solutions.

(define (safe? column placed)
  (let loop ((rest placed) (distance 1))
    (or (null? rest)
        (and (not (= (car rest) column))
             (not (= (abs (- (car rest) column)) distance))
             (loop (cdr rest) (+ distance 1))))))

(define (queens size)
  (define (place row placed)
    (if (= row 0)
        (list placed)
        (apply append
               (map (lambda (column)
                      (if (safe? column placed)
                          (place (- row 1) (cons column placed))
                          '()))
                    (iota size 1)))))
  (place size '()))

(define (show-board solution)
  (let ((size (length solution)))
    (for-each
     (lambda (column)
       (do ((i 1 (+ i 1))) ((> i size))
         (display (if (= i column) "Q" ".")))
       (newline))
     solution)))

(define (count-queens size) (length (queens size)))

(for-each
 (lambda (size)
   (display size) (display ": ") (display (count-queens size)) (newline))
 '(1 2 3 4 5 6))
(show-board (car (queens 6)))

; The same with backtracking by continuations: amb.
(define fail-stack '())
(define (fail)
  (if (null? fail-stack)
      (error "no more choices")
      (let ((back (car fail-stack)))
        (set! fail-stack (cdr fail-stack))
        (back back))))

(define (amb choices)
  (let ((rest choices))
    (let ((here (call/cc (lambda (k) k))))
      (if (null? rest)
          (fail)
          (let ((choice (car rest)))
            (set! rest (cdr rest))
            (set! fail-stack (cons here fail-stack))
            choice)))))

(define (amb-queens size)
  (set! fail-stack '())
  (let loop ((row 0) (placed '()))
    (if (= row size)
        placed
        (let ((column (amb (iota size 1))))
          (if (not (safe? column placed)) (fail))
          (loop (+ row 1) (cons column placed))))))

(writeln (amb-queens 5))
(writeln (guard (e ((error-object? e) (condition/report-string e))) (amb-queens 3)))

; Pythagorean triples from the same amb.
(define (triple limit)
  (set! fail-stack '())
  (let* ((a (amb (iota limit 1))) (b (amb (iota limit 1))) (c (amb (iota limit 1))))
    (if (not (and (< a b) (= (+ (* a a) (* b b)) (* c c)))) (fail))
    (list a b c)))
(writeln (triple 6))
(set! fail-stack '())
